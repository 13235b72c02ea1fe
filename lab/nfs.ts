import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeTextWhole } from './files.ts';
import { type Machine, machineLog, pathInside, powerOn, startIn } from './machine.ts';
import { exchange, waitUntil } from './probes.ts';
import { topology } from './topology.ts';

const { managementAddress, port, exportPath } = topology.nfs;

const quoted = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;

/**
 * NFS 4 alone: no port mapper, no lock manager, no mount protocol. `Graceless`, because after a start nobody has anything to claim back, and a grace
 * period would stop every writer for a minute and a half.
 */
const configuration = (directory: string, stateDirectory: string): string =>
  [
    'NFS_CORE_PARAM {',
    '  Protocols = 4;',
    '  Enable_NLM = false;',
    '  Enable_RQUOTA = false;',
    `  NFS_Port = ${port};`,
    // Version 6 ends where it may not mark itself as a writer of last resort, as in many containers; version 4 only warns of a word it does not know.
    '  Allow_Set_Io_Flusher_Fail = true;',
    '}',
    'NFSv4 {',
    '  Graceless = true;',
    '  RecoveryBackend = fs;',
    `  RecoveryRoot = ${quoted(stateDirectory)};`,
    '  Minor_Versions = 0, 1, 2;',
    '  Only_Numeric_Owners = true;',
    '}',
    'NFS_KRB5 { Active_krb5 = false; }',
    'EXPORT {',
    '  Export_Id = 1;',
    `  Path = ${quoted(directory)};`,
    `  Pseudo = ${exportPath};`,
    '  Protocols = 4;',
    '  Transports = TCP;',
    '  SecType = sys;',
    '  Access_Type = None;',
    '  FSAL { Name = VFS; }',
    '  CLIENT {',
    `    Clients = ${topology.networks.storage.cidr}, ${topology.networks.management.cidr};`,
    '    Access_Type = RW;',
    '    Protocols = 4;',
    '    Squash = No_Root_Squash;',
    '  }',
    '}',
    '',
  ].join('\n');

/** The empty call of NFS version 4: whoever answers it is an NFS server, not merely an open port. */
export const encodeNullCall = (transactionId: number): Buffer => {
  const words = [0x80000000 + 40, transactionId, 0, 2, 100003, 4, 0, 0, 0, 0, 0];
  const buffer = Buffer.alloc(words.length * 4);
  for (const [index, word] of words.entries()) buffer.writeUInt32BE(word, index * 4);
  return buffer;
};

const accepted = (reply: Buffer, transactionId: number): boolean =>
  reply.length >= 28 &&
  reply.readUInt32BE(4) === transactionId &&
  reply.readUInt32BE(8) === 1 &&
  reply.readUInt32BE(12) === 0 &&
  reply.readUInt32BE(24) === 0;

export const nfsAnswers = async (host: string = managementAddress): Promise<boolean> => {
  const transactionId = 0x4e65_7068;
  const reply = await exchange(host, port, encodeNullCall(transactionId), (received) => received.length >= 28);
  return reply !== null && accepted(reply, transactionId);
};

export const powerOnNfs = (machine: Machine, exportDirectory: string): Promise<'on already' | 'switched on'> =>
  powerOn(machine, async (init) => {
    const stateDirectory = join(machine.directory, 'state');
    await mkdir(exportDirectory, { recursive: true });
    await mkdir(stateDirectory, { recursive: true });
    await mkdir(pathInside(init, '/run/ganesha'), { recursive: true });
    await writeTextWhole(pathInside(init, '/run/ganesha.conf'), configuration(exportDirectory, stateDirectory));
    const logFile = machineLog(machine, 'ganesha');
    const options = ['-F', '-f', '/run/ganesha.conf', '-p', '/run/ganesha.pid', '-L', logFile, '-N', 'NIV_EVENT'];
    await startIn(machine, init, 'ganesha-start', 'ganesha.nfsd', options);
    await waitUntil({ about: "the lab's NFS server", timeoutSeconds: 30, logFile }, () => nfsAnswers());
  });
