// Becomes the snapshot from which a role's program is started the first time. Debian's node compiles its own modules again at each start,
// which takes two seconds on an emulated CPU; in the snapshot they are there already. Only modules that node can keep are named here.
const modules = [
  ...['async_hooks', 'child_process', 'crypto', 'diagnostics_channel', 'dns', 'dns/promises', 'events', 'fs', 'fs/promises', 'module', 'net', 'os'],
  ...['path', 'perf_hooks', 'readline', 'stream', 'stream/promises', 'string_decoder', 'timers/promises', 'url', 'util', 'vm', 'zlib'],
];
for (const name of modules) require(`node:${name}`);

require('node:v8').startupSnapshot.setDeserializeMainFunction(() => {
  const { readFileSync } = require('node:fs');
  const { dirname } = require('node:path');
  const { compileFunction } = require('node:vm');
  const filename = process.argv[1];
  const module = { exports: {} };
  const words = ['exports', 'require', 'module', '__filename', '__dirname'];
  compileFunction(readFileSync(filename, 'utf8'), words, { filename })(module.exports, require, module, filename, dirname(filename));
});
