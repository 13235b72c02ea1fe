/** The account QEMU runs as, from libvirt's own settings or, failing those, from the names distributions use. */
import { readFile } from 'node:fs/promises';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}
export interface AccountFiles {
  readonly qemuConf: string;
  readonly passwd: string;
  readonly group: string;
}

export function findAccount({ qemuConf, passwd, group }: AccountFiles): Account | null {
  const setting = (name: string): string | null => new RegExp(`^\\s*${name}\\s*=\\s*"([^"]*)"`, 'm').exec(qemuConf)?.[1] ?? null;
  const users = passwd.split('\n').map((line) => line.split(':'));
  const groups = group.split('\n').map((line) => line.split(':'));
  const number = (text: string): number | null => (/^\+?\d+$/.test(text) ? Number(text) : null);

  for (const name of [setting('user'), 'libvirt-qemu', 'qemu']) {
    if (name === null || name === '') continue;
    const entry = users.find(([user]) => user === name);
    const uid = number(entry?.[2] ?? name);
    if (uid === null) continue;
    const groupName = setting('group');
    const groupEntry = groupName === null ? undefined : groups.find(([candidate]) => candidate === groupName);
    const gid = groupName === null ? number(entry?.[3] ?? '') : number(groupEntry?.[2] ?? groupName);
    if (gid !== null) return { uid, gid };
  }
  return null;
}

export async function qemuAccount(): Promise<Account | null> {
  const text = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
  const [qemuConf, passwd, group] = await Promise.all([text('/etc/libvirt/qemu.conf'), text('/etc/passwd'), text('/etc/group')]);
  return findAccount({ qemuConf, passwd, group });
}
