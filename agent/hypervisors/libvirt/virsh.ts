/** libvirt, through its own command line tool. The rest of the agent knows machines by id; their names appear here only to be listed. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../../../protocol/errors.ts';
import { type Id, isUuid } from '../../../protocol/schema.ts';
import { writeAtomic } from '../../files.ts';
import { attempt, type Outcome } from '../../processes.ts';
import { type MachineRecord, metadataUri, parseMetadata } from './metadata.ts';

export const connection = ['--connect', 'qemu:///system', '--quiet'] as const;

export interface Virsh {
  /** Names by id of everything that runs, ours or not. */
  running(): Promise<Map<Id<'machine'>, string>>;
  /** Null for a domain that the agent did not make, and for one that is gone. */
  record(id: Id<'machine'>): Promise<MachineRecord | null>;
  create(xml: string): Promise<void>;
  /** Whether libvirt takes such a document: the domain is made, not let run, and taken away again at once. */
  tries(xml: string): Promise<boolean>;
  /** These answer false when libvirt refused; a domain that ended meanwhile is the usual reason. */
  pressPowerButton(id: Id<'machine'>): Promise<boolean>;
  reboot(id: Id<'machine'>): Promise<boolean>;
  reset(id: Id<'machine'>): Promise<boolean>;
  /** Whether it boots again within this time, for whatever reason. */
  untilReboot(id: Id<'machine'>, seconds: number, signal: AbortSignal): Promise<boolean>;
  destroy(id: Id<'machine'>): Promise<boolean>;
  vncDisplay(id: Id<'machine'>): Promise<{ address: string; port: number } | null>;
  updateDevice(doing: string, id: Id<'machine'>, xml: string): Promise<void>;
  versions(): Promise<{ libvirt: string; qemu: string }>;
}

const isMachineId = (value: string): value is Id<'machine'> => isUuid(value);
/** libvirt gives a domain 30 s to die before it says that it will not. */
const END_SECONDS = 60;
const CREATE_SECONDS = 105;

export function virsh(directory: string): Virsh {
  const call = async (args: readonly string[], timeoutSeconds = 20): Promise<Outcome> => {
    const outcome = await attempt('virsh', [...connection, ...args], { timeoutSeconds });
    if (outcome.code !== 0 && /failed to connect to the hypervisor|Failed to connect socket/.test(outcome.stderr)) {
      throw new CloudError('ResourceUnavailable', 'libvirt does not answer on this host', { stderr: outcome.stderr.trim() });
    }
    return outcome;
  };
  const must = async (doing: string, args: readonly string[], timeoutSeconds?: number): Promise<string> => {
    const { code, stdout, stderr } = await call(args, timeoutSeconds);
    if (code !== 0) {
      throw new CloudError('ResourceUnavailable', `the host could not ${doing}`, { verb: args[0], stderr: stderr.trim().slice(0, 2000) });
    }
    return stdout;
  };
  const succeeds = async (args: readonly string[], timeoutSeconds?: number): Promise<boolean> =>
    (await call(args, timeoutSeconds)).code === 0;

  /** Documents hold passwords and join tokens: they lie in a private directory for as long as virsh reads them, never in its arguments. */
  const withDocument = async <T>(xml: string, use: (path: string) => Promise<T>): Promise<T> => {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const room = await mkdtemp(join(directory, 'document-'));
    try {
      const path = join(room, 'document.xml');
      await writeAtomic(path, xml);
      return await use(path);
    } finally {
      await rm(room, { recursive: true, force: true });
    }
  };

  return {
    running: async () => {
      const text = await must('list its machines', ['list', '--uuid', '--name']);
      const found = new Map<Id<'machine'>, string>();
      for (const line of text.split('\n')) {
        const [id, name] = line.trim().split(/\s+/, 2);
        if (id !== undefined && name !== undefined && isMachineId(id)) found.set(id, name);
      }
      return found;
    },
    record: async (id) => {
      const { code, stdout } = await call(['metadata', '--live', '--domain', id, '--uri', metadataUri]);
      return code === 0 ? parseMetadata(stdout) : null;
    },
    create: (xml) =>
      withDocument(xml, async (path) => {
        await must('start the machine', ['create', '--validate', '--file', path], CREATE_SECONDS);
      }),
    tries: (xml) => withDocument(xml, (path) => succeeds(['create', '--paused', '--autodestroy', '--file', path], CREATE_SECONDS)),
    pressPowerButton: (id) => succeeds(['shutdown', '--mode', 'acpi', '--domain', id]),
    reboot: (id) => succeeds(['reboot', '--mode', 'acpi', '--domain', id]),
    reset: (id) => succeeds(['reset', '--domain', id]),
    untilReboot: async (id, seconds, signal) => {
      const args = [...connection, 'event', '--domain', id, '--event', 'reboot', '--timeout', String(seconds)];
      return (await attempt('virsh', args, { timeoutSeconds: seconds + 5, signal })).code === 0;
    },
    destroy: (id) => succeeds(['destroy', '--domain', id], END_SECONDS),
    vncDisplay: async (id) => {
      const { code, stdout } = await call(['vncdisplay', '--domain', id]);
      const [, address, display] = /^\s*([0-9.]*):(\d+)\s*$/.exec(stdout) ?? [];
      return code === 0 && address !== undefined && display !== undefined ? { address, port: 5900 + Number(display) } : null;
    },
    updateDevice: (doing, id, xml) =>
      withDocument(xml, async (path) => {
        await must(doing, ['update-device', '--live', '--force', '--domain', id, '--file', path]);
      }),
    versions: async () => {
      const text = await must('ask libvirt for its version', ['version']);
      return {
        libvirt: /Using library: libvirt (\S+)/.exec(text)?.[1] ?? '',
        qemu: /Running hypervisor: QEMU (\S+)/.exec(text)?.[1] ?? '',
      };
    },
  };
}
