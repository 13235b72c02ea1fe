import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadingOrder } from './debian.ts';

const DEPENDENCIES = `kernel/net/core/failover.ko.xz:
kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz
kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz
kernel/drivers/char/hw_random/virtio-rng.ko.xz:
`;

test('modules come after those they need, and each once', () => {
  assert.deepEqual(loadingOrder(DEPENDENCIES, ['virtio_net', 'virtio_rng', 'net_failover']), [
    'kernel/net/core/failover.ko.xz',
    'kernel/drivers/net/net_failover.ko.xz',
    'kernel/drivers/net/virtio_net.ko.xz',
    'kernel/drivers/char/hw_random/virtio-rng.ko.xz',
  ]);
});

test('a module that the kernel does not have is an error at build time', () => {
  assert.throws(() => loadingOrder(DEPENDENCIES, ['floppy']), /no module floppy/);
});
