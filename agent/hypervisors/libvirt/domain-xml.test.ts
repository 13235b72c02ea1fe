import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XMLParser } from 'fast-xml-parser';
import type { MachineSpec } from '../../../protocol/messages/machine.ts';
import type { Id } from '../../../protocol/schema.ts';
import { type DomainSurroundings, domainXml, targetOf } from './domain-xml.ts';
import { nicsOf, parseMetadata } from './metadata.ts';

const id = <K extends string>(last: string): Id<K> => `01990000-0000-7000-8000-${last.padStart(12, '0')}` as Id<K>;

const guest: MachineSpec = {
  id: id('a1'),
  name: 'i-2-3-VM',
  kind: 'guest',
  cpuCount: 2,
  cpuMhz: 500,
  memoryMib: 512,
  boot: { kind: 'disk' },
  disks: [{ volumeId: id('b1'), poolId: id('c1'), device: 0, bus: 'virtio' }],
  iso: null,
  nics: [
    {
      nicId: id('d1'),
      device: 0,
      mac: '02:00:4c:5f:00:01',
      mtu: 1450,
      attachment: { kind: 'vxlan', vni: 5001 },
      addresses: ['10.1.1.5'],
      model: 'virtio',
    },
  ],
  vncPassword: 'abcDEF12',
  keyboard: 'en-us',
};
const router: MachineSpec = {
  ...guest,
  id: id('a2'),
  name: 'r-4-VM',
  kind: 'router',
  cpuCount: 1,
  memoryMib: 256,
  boot: { kind: 'direct', kernel: 'kernel-1', initrd: 'initrd-1', arguments: `type=router name='r-4-VM' & <x>`, payload: 'systemvm-1.iso' },
  nics: [
    {
      nicId: id('d4'),
      device: 2,
      mac: '1e:00:00:00:00:03',
      mtu: 1500,
      attachment: { kind: 'bridge', bridge: 'cloudbr1' },
      addresses: null,
      model: 'virtio',
    },
    { nicId: id('d3'), device: 1, mac: '0e:00:a9:fe:00:09', mtu: 1500, attachment: { kind: 'control' }, addresses: null, model: 'virtio' },
    {
      nicId: id('d2'),
      device: 0,
      mac: '02:00:4c:5f:00:02',
      mtu: 1450,
      attachment: { kind: 'vxlan', vni: 5001 },
      addresses: null,
      model: 'virtio',
    },
  ],
};
const around: DomainSurroundings = {
  accelerator: 'qemu',
  vncListenAddress: '198.18.0.11',
  cpuShares: true,
  qemuOwner: '+64055:+109',
  serialLogPath: '/var/lib/nephos-agent/serial/a1.log',
  disks: [{ path: '/primary/volumes/b1.qcow2', backingPath: '/primary/images/e1.qcow2', cache: 'none' }],
  isoPath: null,
  boot: null,
};
const forRouter: DomainSurroundings = {
  ...around,
  boot: { kernelPath: '/boot/kernel-1', initrdPath: '/boot/initrd-1', payloadPath: '/boot/systemvm-1.iso' },
};

const parser = new XMLParser({ ignoreAttributes: false, attributeNamePrefix: '@', parseTagValue: false, parseAttributeValue: false });
const read = (xml: string) => parser.parse(xml).domain;

test('OV-01 the document of a guest, letter by letter', () => {
  assert.equal(
    domainXml(guest, around),
    `<domain type='qemu'>
  <name>i-2-3-VM</name>
  <uuid>01990000-0000-7000-8000-0000000000a1</uuid>
  <metadata>
    <nephos:machine xmlns:nephos='urn:nephos:agent:1' kind='guest'>
      <nephos:nic id='01990000-0000-7000-8000-0000000000d1' mac='02:00:4c:5f:00:01' network='vxlan' addresses='10.1.1.5'/>
      <nephos:disk pool='01990000-0000-7000-8000-0000000000c1' volume='01990000-0000-7000-8000-0000000000b1'/>
    </nephos:machine>
  </metadata>
  <memory unit='MiB'>512</memory>
  <vcpu placement='static'>2</vcpu>
  <cputune>
    <shares>1000</shares>
  </cputune>
  <sysinfo type='smbios'>
    <system>
      <entry name='manufacturer'>Apache Software Foundation</entry>
      <entry name='product'>CloudStack KVM Hypervisor</entry>
      <entry name='uuid'>01990000-0000-7000-8000-0000000000a1</entry>
    </system>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <boot dev='hd'/>
    <smbios mode='sysinfo'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>qemu64</model>
  </cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
      <source file='/primary/volumes/b1.qcow2'/>
      <backingStore type='file'>
        <format type='qcow2'/>
        <source file='/primary/images/e1.qcow2'/>
        <backingStore/>
      </backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <backingStore/>
      <target dev='hdd' bus='ide'/>
      <readonly/>
    </disk>
    <interface type='bridge'>
      <mac address='02:00:4c:5f:00:01'/>
      <source bridge='brvx-5001'/>
      <target dev='t0000000000d1'/>
      <model type='virtio'/>
      <mtu size='1450'/>
    </interface>
    <serial type='pty'>
      <log file='/var/lib/nephos-agent/serial/a1.log' append='on'/>
      <target type='isa-serial' port='0'/>
    </serial>
    <input type='tablet' bus='usb'/>
    <graphics type='vnc' port='-1' autoport='yes' listen='198.18.0.11' keymap='en-us' passwd='abcDEF12'>
      <listen type='address' address='198.18.0.11'/>
    </graphics>
    <video>
      <model type='vga' vram='16384'/>
    </video>
    <memballoon model='virtio' autodeflate='on'>
      <stats period='30'/>
    </memballoon>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
  </devices>
  <seclabel type='static' model='dac' relabel='no'>
    <label>+64055:+109</label>
  </seclabel>
</domain>
`,
  );
});

test('SV-22 a router boots directly, with its payload as second disk and its NICs in their order', () => {
  const { os, devices } = read(domainXml(router, forRouter));
  assert.equal(os.kernel, '/boot/kernel-1');
  assert.equal(os.initrd, '/boot/initrd-1');
  assert.equal(os.cmdline, `type=router name='r-4-VM' & <x>`);
  assert.deepEqual(
    devices.disk.map((disk: Record<string, Record<string, string>>) => [
      disk['target']?.['@dev'],
      disk['driver']?.['@type'],
      disk['readonly'] !== undefined,
    ]),
    [
      ['vda', 'qcow2', false],
      ['vdb', 'raw', true],
    ],
  );
  assert.deepEqual(
    devices.interface.map((nic: Record<string, Record<string, string>>) => nic['source']?.['@bridge']),
    ['brvx-5001', 'cloud0', 'cloudbr1'],
  );
});

test('with hardware virtualization the guest gets the host CPU, without CPU shares none are asked for', () => {
  const domain = read(domainXml(guest, { ...around, accelerator: 'kvm', cpuShares: false, qemuOwner: null }));
  assert.equal(domain['@type'], 'kvm');
  assert.equal(domain.cpu['@mode'], 'host-model');
  assert.equal(domain.cputune, undefined);
  assert.equal(domain.seclabel, undefined);
});

test('OV-02 what is written about a machine is read back from libvirt', () => {
  const iso = { imageId: id<'template'>('e2'), poolId: id<'storagePool'>('c2') };
  for (const spec of [guest, router, { ...guest, iso }, { ...guest, nics: [], disks: [] }]) {
    const xml = domainXml(spec, { ...(spec.kind === 'guest' ? around : forRouter), isoPath: spec.iso ? '/primary/images/e2.iso' : null });
    const written = xml.slice(xml.indexOf('<nephos:machine'), xml.indexOf('</metadata>'));
    // virsh prints the element without our prefix and with other quotes.
    for (const text of [written, written.replaceAll('nephos:', '').replaceAll(`'`, '"')]) {
      const record = parseMetadata(text);
      assert.ok(record);
      assert.equal(record.kind, spec.kind);
      assert.equal(record.isoPoolId, spec.iso?.poolId ?? null);
      assert.deepEqual(record.nics, nicsOf({ ...spec, nics: [...spec.nics].sort((one, other) => one.device - other.device) }));
      assert.deepEqual(
        record.disks,
        spec.disks.map(({ poolId, volumeId }) => ({ poolId, volumeId })),
      );
    }
  }
  assert.equal(parseMetadata(''), null);
  assert.equal(parseMetadata(`<machine kind='guest'><nic id='../x' mac='zz' network='control'/></machine>`), null);
});

test('hostile boot arguments stay one argument', () => {
  for (const hostile of [`</cmdline></os><devices><disk>`, `' -drive file=/etc/shadow '`, '&#x0;', '$(id)', '-- -S']) {
    const spec: MachineSpec = { ...router, boot: { ...router.boot, arguments: hostile } as MachineSpec['boot'] };
    const { os, devices } = new XMLParser({ processEntities: false }).parse(domainXml(spec, forRouter)).domain;
    assert.ok(!/[<>'"]/.test(os.cmdline));
    assert.equal(devices.disk.length, 2);
  }
});

test('disks have their letters, and two at one place are refused', () => {
  assert.equal(targetOf({ device: 25, bus: 'virtio' }), 'vdz');
  assert.equal(targetOf({ device: 26, bus: 'scsi' }), 'sdaa');
  assert.equal(targetOf({ device: 63, bus: 'virtio' }), 'vdbl');
  assert.throws(() => targetOf({ device: 3, bus: 'ide' }), { code: 'InvalidParameter' });
  const disk = guest.disks[0];
  const files = around.disks[0];
  assert.ok(disk && files);
  assert.throws(() => domainXml({ ...guest, disks: [disk, disk] }, { ...around, disks: [files, files] }), { code: 'InvalidParameter' });
  assert.throws(() => domainXml({ ...router, disks: [{ ...disk, device: 1 }] }, forRouter), { code: 'InvalidParameter' });
});
