/** Machines as libvirt domains. All are transient: libvirt knows a machine for as long as it runs, and nothing of it afterwards. */
import { readdir } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { CloudError } from '../../../protocol/errors.ts';
import type { Log } from '../../../protocol/log.ts';
import type { MachineSpec } from '../../../protocol/messages/machine.ts';
import type { Id } from '../../../protocol/schema.ts';
import type { BootFiles } from '../../boot-files.ts';
import type { AntiSpoofing, GuardedNic } from '../../networking/anti-spoofing.ts';
import type { LocalPools } from '../../storage/pools.ts';
import { type Turns, turns } from '../../turns.ts';
import type { BootFileName, Hypervisor, Iso } from '../hypervisor.ts';
import { cdromXml, type DomainSurroundings, domainXml, graphicsXml } from './domain-xml.ts';
import { type MachineRecord, nicsOf } from './metadata.ts';
import type { SerialLogs } from './serial-logs.ts';
import type { Virsh } from './virsh.ts';
import { renderXml } from './xml.ts';

export interface LibvirtMachinesOptions {
  readonly virsh: Virsh;
  readonly pools: Pick<LocalPools, 'disk' | 'iso'>;
  readonly bootFiles: Pick<BootFiles, 'path'>;
  readonly antiSpoofing: AntiSpoofing;
  readonly serialLogs: SerialLogs;
  /** What of the host goes into every machine's document; asked at each start. */
  readonly surroundings: () => Promise<Pick<DomainSurroundings, 'accelerator' | 'vncListenAddress' | 'cpuShares' | 'qemuOwner'>>;
  /** Refuses a NIC that has nowhere to be plugged into. */
  readonly checkNetworks: (spec: MachineSpec) => Promise<void>;
  /** How long a guest may take to shut itself down for a reboot; shortened by tests only. */
  readonly rebootGraceSeconds?: number;
  readonly log: Log;
}

export interface LibvirtMachines extends Hypervisor {
  /** Our machines that run now, with what is written about them. */
  records(): Promise<Map<Id<'machine'>, RunningMachine>>;
  /** Brings what hangs on running machines in line with which run. */
  refresh(): Promise<void>;
}
export interface RunningMachine extends MachineRecord {
  readonly name: string;
}

const LOOK_MILLISECONDS = 500;
/** A guest that was still booting did not see the power button; it is pressed again. */
const PRESS_AGAIN_SECONDS = 10;
/** Then it is reset: as with a stop, what does not heed the power button must not keep its user from getting what was asked for. */
const REBOOT_GRACE_SECONDS = 60;
const KEYMAPS = '/usr/share/qemu/keymaps';

export function libvirtMachines(options: LibvirtMachinesOptions): LibvirtMachines {
  const { virsh, pools, bootFiles, antiSpoofing, serialLogs, surroundings, checkNetworks, log } = options;
  const { rebootGraceSeconds = REBOOT_GRACE_SECONDS } = options;
  const inTurn: Turns = turns();
  // Null marks a domain that is not ours. A domain's document never changes its metadata, so one reading lasts for its life.
  const known = new Map<Id<'machine'>, MachineRecord | null>();

  const records = async (): Promise<Map<Id<'machine'>, RunningMachine>> => {
    const running = await virsh.running();
    for (const id of known.keys()) if (!running.has(id)) known.delete(id);
    const found = new Map<Id<'machine'>, RunningMachine>();
    for (const [id, name] of running) {
      let record = known.get(id);
      if (record === undefined) {
        record = await virsh.record(id);
        // No answer may also mean that it just ended; only a domain that is still there is a stranger.
        if (record !== null || (await virsh.running()).has(id)) known.set(id, record);
      }
      if (record) found.set(id, { ...record, name });
    }
    return found;
  };
  const isRunning = async (id: Id<'machine'>): Promise<boolean> => (await virsh.running()).has(id);
  // A forced stop must not wait out the grace of a gentle one that is under way.
  const hurried = new Set<Id<'machine'>>();

  const document = async (spec: MachineSpec): Promise<string> => {
    const { boot } = spec;
    const file = (name: BootFileName): Promise<string> => bootFiles.path(name);
    return domainXml(
      { ...spec, keyboard: await knownKeyboard(spec.keyboard, log) },
      {
        ...(await surroundings()),
        serialLogPath: serialLogs.path(spec.id),
        disks: await Promise.all(spec.disks.map(({ poolId, volumeId }) => pools.disk(poolId, volumeId))),
        isoPath: spec.iso ? await pools.iso(spec.iso) : null,
        boot:
          boot.kind === 'direct'
            ? { kernelPath: await file(boot.kernel), initrdPath: await file(boot.initrd), payloadPath: await file(boot.payload) }
            : null,
      },
    );
  };

  const vncOf = async (id: Id<'machine'>): Promise<{ address: string; port: number }> => {
    const display = await virsh.vncDisplay(id);
    if (!display) throw new CloudError('ResourceUnavailable', 'the machine ended while it was being started');
    return display;
  };

  const start = async (spec: MachineSpec): Promise<{ power: 'On'; vncPort: number }> => {
    if (await isRunning(spec.id)) {
      // Told again, perhaps after a start whose answer was lost: everything stays, and the password is the one just given.
      const { address, port } = await vncOf(spec.id);
      const keyboard = await knownKeyboard(spec.keyboard, log);
      const graphics = graphicsXml({ ...spec, keyboard }, address === '' ? (await surroundings()).vncListenAddress : address, port);
      await virsh.updateDevice('give the console its password', spec.id, renderXml(graphics));
      return { power: 'On', vncPort: port };
    }
    await checkNetworks(spec);
    const xml = await document(spec);
    await serialLogs.begin(spec.id);
    await antiSpoofing.admit(spec.id, nicsOf(spec));
    try {
      await virsh.create(xml);
    } catch (error) {
      // libvirt goes on after its client is gone; half a start must not become a machine that nobody asked for.
      await virsh.destroy(spec.id).catch(() => false);
      throw error;
    } finally {
      antiSpoofing.settle(spec.id);
    }
    return { power: 'On', vncPort: (await vncOf(spec.id)).port };
  };

  const stop = async (id: Id<'machine'>, graceSeconds: number): Promise<'Off'> => {
    if (!(await isRunning(id))) return 'Off';
    const begun = performance.now();
    const elapsedSeconds = (): number => (performance.now() - begun) / 1000;
    for (let presses = 0; !hurried.has(id) && elapsedSeconds() < graceSeconds; ) {
      if (elapsedSeconds() >= presses * PRESS_AGAIN_SECONDS) {
        presses += 1;
        await virsh.pressPowerButton(id);
      }
      await wait(LOOK_MILLISECONDS);
      if (!(await isRunning(id))) return 'Off';
    }
    if (!(await virsh.destroy(id)) && (await isRunning(id))) {
      throw new CloudError('ResourceUnavailable', 'the machine could not be stopped', { id });
    }
    return 'Off';
  };

  /** By its power button, as far as its system heeds that and is quick enough. */
  const rebootsItself = async (id: Id<'machine'>): Promise<boolean> => {
    const enough = new AbortController();
    const booted = virsh.untilReboot(id, rebootGraceSeconds, enough.signal);
    try {
      // Whoever listens must do so before the button is pressed.
      await wait(LOOK_MILLISECONDS);
      if (!(await virsh.reboot(id))) return false;
      for (;;) {
        const seen = await Promise.race([booted, wait(LOOK_MILLISECONDS)]);
        if (seen !== undefined) return seen;
        if (hurried.has(id) || !(await isRunning(id))) return false;
      }
    } finally {
      enough.abort();
    }
  };

  return {
    start: (spec) => inTurn.take(spec.id, () => start(spec)),
    stop: (id, { force, graceSeconds }) => {
      if (force) hurried.add(id);
      return inTurn.take(id, async () => {
        try {
          const power = await stop(id, graceSeconds);
          await refresh();
          return power;
        } finally {
          hurried.delete(id);
        }
      });
    },
    reboot: (id, { force }) =>
      inTurn.take(id, async () => {
        if (!(await isRunning(id))) return 'Off';
        if (!force && (await rebootsItself(id))) return 'On';
        // A stop that must not wait has come meanwhile.
        if (hurried.has(id)) return 'On';
        if (await virsh.reset(id)) return 'On';
        if (!(await isRunning(id))) return 'Off';
        throw new CloudError('ResourceUnavailable', 'the machine could not be rebooted', { id });
      }),
    list: async () => [...(await records())].map(([id, { name }]) => ({ id, name, power: 'On' })),
    changeIso: (id, iso: Iso | null) =>
      inTurn.take(id, async () => {
        const path = iso ? await pools.iso(iso) : null;
        // A machine that does not run gets its ISO with its next start.
        if (!(await isRunning(id))) return;
        await virsh.updateDevice('change the ISO', id, renderXml(cdromXml(path)));
      }),
    serialLog: (id) => serialLogs.tail(id),
    remains: async () => {
      const running = await virsh.running();
      return (await serialLogs.machines()).filter((id) => !running.has(id));
    },
    forget: async (ids) => {
      for (const id of ids) {
        await inTurn.take(id, async () => {
          if (!(await isRunning(id))) await serialLogs.remove(id);
        });
      }
    },
    records,
    refresh,
  };

  async function refresh(): Promise<void> {
    const running = await records();
    await antiSpoofing.keep(new Map([...running].map(([id, { nics }]): [Id<'machine'>, readonly GuardedNic[]] => [id, nics])));
  }
}

/** QEMU does not start with a keyboard it has no table for; the American one is always there. */
async function knownKeyboard(keyboard: string, log: Log): Promise<string> {
  const tables = await readdir(KEYMAPS).catch(() => null);
  if (tables === null || tables.includes(keyboard)) return keyboard;
  log.warn({ keyboard }, 'QEMU has no table for this keyboard; en-us is used');
  return 'en-us';
}
