import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findAccount } from './qemu-account.ts';

const passwd = 'root:x:0:0::/root:/bin/sh\nlibvirt-qemu:x:64055:109::/var/lib/libvirt:/usr/sbin/nologin\n';
const group = 'root:x:0:\nkvm:x:109:\nlibvirt-qemu:x:64055:libvirt-qemu\n';

test('the account is what libvirt was told, else the usual one', () => {
  assert.deepEqual(findAccount({ qemuConf: '', passwd, group }), { uid: 64_055, gid: 109 });
  assert.deepEqual(findAccount({ qemuConf: 'user = "root"\ngroup = "root"\n', passwd, group }), { uid: 0, gid: 0 });
  assert.deepEqual(findAccount({ qemuConf: ' user="+1000"\ngroup = "libvirt-qemu"', passwd, group }), { uid: 1000, gid: 64_055 });
  assert.deepEqual(findAccount({ qemuConf: '#user = "root"', passwd, group }), { uid: 64_055, gid: 109 });
  assert.equal(findAccount({ qemuConf: '', passwd: 'root:x:0:0::/root:/bin/sh', group }), null);
});
