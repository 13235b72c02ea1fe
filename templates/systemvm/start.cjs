// Makes the snapshot of node from which a role's program is started the first time: the program and node's own modules are in it as they
// are after loading. Debian's node compiles its modules again at each start, and compiling them and the program is what takes longest on
// an emulated CPU.
const { readFileSync } = require('node:fs');
const { startupSnapshot } = require('node:v8');
const { compileFunction } = require('node:vm');

const { filename, code, absent } = JSON.parse(readFileSync('/start.json', 'utf8'));
let isBuilding = true;
startupSnapshot.addDeserializeCallback(() => {
  isBuilding = false;
});

/** Stands for something of a module that node cannot keep in a snapshot, until the program runs. */
const later = (find) => {
  let found;
  const real = () => {
    if (isBuilding) throw new Error(`${filename} uses a module too early that cannot be kept`);
    found ??= find();
    return found;
  };
  return new Proxy(function standIn() {}, {
    apply: (_, self, words) => Reflect.apply(real(), self, words),
    construct: (_, words) => Reflect.construct(real(), words),
    get: (_, key) => Reflect.get(real(), key),
  });
};
const moduleLater = (name) => {
  const members = new Map(absent[name].map((key) => [key, later(() => require(`node:${name}`)[key])]));
  // A name that the module does not have is undefined at once: programs ask for it to see what this node can do.
  return new Proxy({}, { get: (_, key) => (isBuilding ? members.get(key) : require(`node:${name}`)[key]) });
};

const known = new Map();
const requireForRole = (name) => {
  const plain = name.replace(/^node:/, '');
  if (plain === 'module') return { ...require('node:module'), createRequire: () => requireForRole };
  if (!Object.hasOwn(absent, plain)) return require(`node:${plain}`);
  if (!known.has(plain)) known.set(plain, moduleLater(plain));
  return known.get(plain);
};

// Parts of modules that cannot be kept as a whole.
for (const name of ['_http_agent', '_http_incoming']) require(name);

const module_ = { exports: {} };
const words = ['exports', 'require', 'module', '__filename', '__dirname'];
compileFunction(code, words, { filename })(module_.exports, requireForRole, module_, filename, '/run/payload');
