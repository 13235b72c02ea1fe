import assert from 'node:assert/strict';
import test from 'node:test';
import type { HostDescription } from '../../protocol/messages/host.ts';
import { changesBy } from './host-link.ts';

const description: HostDescription = {
  hostName: 'kvm1',
  accelerator: 'qemu',
  acceleratorReason: 'there is no /dev/kvm',
  architecture: 'x86_64',
  cpuCount: 4,
  cpuMhz: 2400,
  cpuModel: 'Example',
  memoryMib: 16_000,
  operatingSystem: 'Debian GNU/Linux 13',
  kernel: '6.12',
  libvirtVersion: '11.0',
  qemuVersion: '10.0',
  agentVersion: '0.1.0',
  features: { vxlan: true },
  bridges: ['cloudbr0', 'cloudbr1'],
};
const host = { name: '198.18.0.11', resourceState: 'Creating' as const, description: null, details: {} };

test('a host is what it says of itself, and gets its name while it is being added', () => {
  const changes = changesBy(host, description, ['cloudbr0', 'cloudbr1', 'cloudbr0']);
  assert.deepEqual(changes, {
    description,
    details: { accelerator: 'qemu', acceleratorReason: 'there is no /dev/kvm' },
    cpuCount: 4,
    cpuMhz: 2400,
    memoryMib: 16_000,
    name: 'kvm1',
  });
  const named = changesBy({ ...host, resourceState: 'Enabled', name: 'rack-3' }, description, []);
  assert.equal(named && 'name' in named, false);
});

test('saying the same again changes nothing', () => {
  const known = {
    ...host,
    resourceState: 'Enabled' as const,
    description,
    details: { accelerator: 'qemu', acceleratorReason: 'there is no /dev/kvm' },
  };
  assert.equal(changesBy(known, structuredClone(description), ['cloudbr1']), null);
});

test('bridges that are wanted and not there are named, until they are', () => {
  const lacking = changesBy(host, description, ['cloudbr1', 'storagebr', 'otherbr']);
  assert.equal(lacking?.details?.['missingBridges'], 'storagebr,otherbr');
  const known = { ...host, description, details: lacking?.details ?? {} };
  const there = changesBy(known, { ...description, bridges: ['cloudbr1', 'storagebr', 'otherbr'] }, ['cloudbr1', 'storagebr', 'otherbr']);
  assert.equal(there?.details?.['missingBridges'], undefined);
  const simulated = changesBy(host, { ...description, accelerator: 'simulated' }, ['cloudbr7']);
  assert.equal(simulated?.details?.['missingBridges'], undefined);
});
