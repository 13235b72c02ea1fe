/** The one dnsmasq of a router: started, told of new files, and known to have read them. */
import { CloudError } from '../protocol/errors.ts';
import { removeFileIfPresent, writeFileIfChanged } from '../systemvm/files.ts';
import type { DaemonState, Processes } from '../systemvm/processes.ts';
import type { DnsmasqPlan } from './compile.ts';

const NAME = 'dnsmasq';
const PATIENCE_SECONDS = 10;

export interface Dnsmasq {
  /** How many files had to change. */
  readonly apply: (plan: DnsmasqPlan | null) => Promise<number>;
  readonly state: () => DaemonState;
}

export function dnsmasq({ folder, daemons }: { folder: string; daemons: Processes }): Dnsmasq {
  const configurationFile = `${folder}/dnsmasq.conf`;
  let files: readonly string[] = [];
  let onLine: (line: string) => void = () => undefined;

  /** Ends when dnsmasq has printed a line for each of `wanted`; it has then really loaded what was written. */
  const lines = (wanted: readonly string[]): { seen: Promise<void>; forget: () => void } => {
    const missing = new Set(wanted);
    let timer: NodeJS.Timeout | undefined;
    const seen = new Promise<void>((resolve, reject) => {
      let complaint = '';
      timer = setTimeout(
        () => reject(new CloudError('Internal', `dnsmasq did not take its configuration${complaint === '' ? '' : `: ${complaint}`}`)),
        PATIENCE_SECONDS * 1000,
      );
      onLine = (line) => {
        for (const text of missing) if (line.includes(text)) missing.delete(text);
        if (/FAILED|bad |failed to/.test(line)) complaint = line.slice(0, 200);
        if (missing.size === 0) resolve();
      };
      if (missing.size === 0) resolve();
    });
    return { seen, forget: () => clearTimeout(timer) };
  };
  const afterwards = async (wanted: readonly string[], act: () => Promise<void>): Promise<void> => {
    const { seen, forget } = lines(wanted);
    try {
      await Promise.all([seen, act()]);
    } finally {
      forget();
    }
  };

  return {
    apply: async (plan) => {
      if (plan === null) {
        await daemons.stop(NAME);
        const removed = await Promise.all([configurationFile, ...files].map(removeFileIfPresent));
        files = [];
        return removed.filter(Boolean).length;
      }
      const wanted = Object.entries(plan.files);
      const [configurationChanged, ...filesChanged] = await Promise.all([
        writeFileIfChanged(configurationFile, plan.configuration),
        ...wanted.map(([path, content]) => writeFileIfChanged(path, content)),
      ]);
      const gone = files.filter((path) => !Object.hasOwn(plan.files, path));
      files = wanted.map(([path]) => path);
      const isRunning = daemons.state(NAME) === 'running';
      const loaded = ['started, version', ...files.map((path) => `read ${path}`)];
      if (!isRunning || configurationChanged)
        await afterwards(loaded, async () => {
          if (isRunning || daemons.state(NAME) === 'failed') await daemons.restart(NAME);
          else
            await daemons.start({
              name: NAME,
              command: '/usr/sbin/dnsmasq',
              arguments: ['--keep-in-foreground', `--conf-file=${configurationFile}`, '--log-facility=-'],
              onLine: (line) => onLine(line),
            });
        });
      else if (filesChanged.includes(true))
        await afterwards(loaded.slice(1), async () => {
          // The signal also takes out hosts that are no longer listed, which a watched folder would keep.
          daemons.signal(NAME, 'SIGHUP');
        });
      const removed = await Promise.all(gone.map(removeFileIfPresent));
      return [configurationChanged, ...filesChanged, ...removed].filter(Boolean).length;
    },
    state: () => daemons.state(NAME),
  };
}
