import assert from 'node:assert/strict';
import test from 'node:test';
import { missingParts } from './zone-parts.ts';

const whole = { pods: 1, clusters: 1, physicalNetworks: 1, traffic: ['Guest', 'Management', 'Public'] as const, vlanNetworks: [] };

test('MI-01: a zone lacks nothing only when it has all its parts, and each missing part is named', () => {
  assert.deepEqual(missingParts(whole), []);
  assert.match(missingParts({ ...whole, pods: 0 }).join(), /^an enabled pod \(createPod\)$/);
  assert.match(missingParts({ ...whole, clusters: 0 }).join(), /^an enabled cluster \(addCluster\)$/);
  assert.match(missingParts({ ...whole, traffic: ['Guest', 'Storage'] }).join('|'), /type Management .*\|.*type Public /);
  assert.match(missingParts({ ...whole, vlanNetworks: ['p0'] }).join(), /VXLAN on the physical network p0/);
  assert.equal(missingParts({ pods: 0, clusters: 0, physicalNetworks: 0, traffic: [], vlanNetworks: [] }).length, 6);
});
