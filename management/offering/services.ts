/** Which network services an offering can promise today, and who provides them. */
import { CloudError } from '../../protocol/errors.ts';
import type { NetworkOfferingRow, NetworkServiceName } from './entities.ts';

export const networkProviders = ['VirtualRouter'] as const;
/** Of Firewall the default policy for traffic to the outside works. */
export const workingServices = ['Dhcp', 'Dns', 'UserData', 'SourceNat', 'Firewall'] as const satisfies readonly NetworkServiceName[];

/** `named` are services, `providers` pairs of service and provider; a service without provider gets the virtual router. */
export function chooseServices(
  named: readonly string[],
  providers: readonly Readonly<Record<string, string>>[],
): NetworkOfferingRow['services'] {
  const chosen: Partial<Record<NetworkServiceName, string>> = {};
  for (const name of named) chosen[serviceNamed(name)] = 'VirtualRouter';
  for (const { service, provider } of providers) {
    if (service === undefined || provider === undefined)
      throw new CloudError('InvalidParameter', 'each entry of serviceproviderlist has a service and a provider');
    const name = serviceNamed(service);
    if (named.length > 0 && chosen[name] === undefined)
      throw new CloudError('InvalidParameter', `serviceproviderlist names the service ${name}, which supportedservices does not`);
    const known = networkProviders.find((each) => each.toLowerCase() === provider.toLowerCase());
    if (!known)
      throw new CloudError(
        'InvalidParameter',
        `the provider ${provider.slice(0, 60)} is not available for ${name}; available is ${networkProviders.join(', ')}`,
      );
    chosen[name] = known;
  }
  return chosen;
}

function serviceNamed(name: string): NetworkServiceName {
  const found = workingServices.find((each) => each.toLowerCase() === name.trim().toLowerCase());
  if (!found)
    throw new CloudError(
      'InvalidParameter',
      `the network service ${name.slice(0, 60)} is not available; available are ${workingServices.join(', ')}`,
    );
  return found;
}
