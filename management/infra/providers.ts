/** The one provider of network services there is: routers of the cloud's own. */
export const VIRTUAL_ROUTER = 'VirtualRouter';
export const virtualRouterServices = ['Dhcp', 'Dns', 'SourceNat', 'UserData'] as const;
