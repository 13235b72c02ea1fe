/**
 * The one way out to a user's URL. A name is resolved once per hop, every address of it is checked, and the connection goes to the
 * address that was checked; so a name that changes its mind between check and connection changes nothing. Each redirect is a new hop.
 */
import { lookup as dnsLookup } from 'node:dns/promises';
import { type ClientRequest, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import type { CloudError } from '../../protocol/errors.ts';
import { type AddressRules, denial } from './address.ts';
import { connectionProblem, passing, refused } from './problem.ts';

export type Lookup = (hostName: string) => Promise<readonly { readonly address: string; readonly family: number }[]>;

export interface SourceOptions {
  readonly rules: AddressRules;
  /** An http proxy that the operator has configured. */
  readonly proxyUrl: string | null;
  readonly lookup?: Lookup;
  /** Certificates to trust beside the well-known ones. PEM. */
  readonly certificateAuthorities?: readonly string[];
  readonly silenceSeconds?: number;
}
export interface OpenSource {
  readonly response: IncomingMessage;
  readonly host: string;
}

const REDIRECTS_MAX = 5;
const RESOLVE_SECONDS = 20;
const CONNECT_SECONDS = 20;
const SILENCE_SECONDS = 60;

const systemLookup: Lookup = (hostName) => dnsLookup(hostName, { all: true, verbatim: true });

export function parseSourceUrl(text: string, base?: URL): URL {
  if (!URL.canParse(text, base)) throw refused('the URL cannot be read');
  const url = new URL(text, base);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw refused(`the URL is not of http or https but of ${url.protocol.slice(0, -1)}`);
  if (url.hostname === '') throw refused('the URL names no server');
  return url;
}

const bare = (hostName: string): string => hostName.replace(/^\[(.*)\]$/, '$1');

function within<T>(promise: Promise<T>, seconds: number, problem: () => CloudError): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(problem()), seconds * 1000);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** The one address that will be connected to. A name with any address that must not be reached is refused as a whole. */
async function pin(host: string, { rules, lookup = systemLookup }: SourceOptions): Promise<string> {
  const found =
    isIP(host) === 0
      ? await within(lookup(host), RESOLVE_SECONDS, () => passing(`the name ${host} cannot be resolved now: no name server answers`)).catch(
          (error: unknown) => {
            throw connectionProblem(error, host);
          },
        )
      : [{ address: host, family: isIP(host) }];
  for (const { address } of found) {
    const reason = denial(address, rules);
    if (reason !== null) throw refused(isIP(host) === 0 ? `${host} is at ${address}, which is ${reason}` : `${host} is ${reason}`);
  }
  const chosen = found.find(({ family }) => family === 4) ?? found[0];
  if (chosen === undefined) throw passing(`the name ${host} has no address`);
  return chosen.address;
}

const authorization = (url: URL): string | null =>
  url.username === '' && url.password === ''
    ? null
    : `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString('base64')}`;

const bracketed = (address: string): string => (isIP(address) === 6 ? `[${address}]` : address);
const portOf = (url: URL): number => Number(url.port) || (url.protocol === 'https:' ? 443 : 80);

/** A tunnel to the pinned address; the proxy never sees the name, so it cannot resolve it differently. */
function tunnel(proxy: URL, address: string, port: number, signal: AbortSignal): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const target = `${bracketed(address)}:${port}`;
    const credentials = authorization(proxy);
    const request = httpRequest({
      host: bare(proxy.hostname),
      port: portOf(proxy),
      method: 'CONNECT',
      path: target,
      headers: { host: target, ...(credentials ? { 'proxy-authorization': credentials } : {}) },
      agent: false,
      timeout: CONNECT_SECONDS * 1000,
      signal,
    });
    request.on('timeout', () => request.destroy(passing('the proxy does not answer')));
    request.on('error', (error) => reject(connectionProblem(error, 'of the proxy')));
    request.on('response', (response) => {
      response.resume();
      reject(passing(`the proxy refuses the connection (status ${response.statusCode})`));
    });
    request.on('connect', (response, socket) => {
      if (response.statusCode === 200) resolve(socket);
      else {
        socket.destroy();
        reject(passing(`the proxy refuses the connection (status ${response.statusCode})`));
      }
    });
    request.end();
  });
}

function answerOf(request: ClientRequest, host: string, silenceSeconds: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', (error) => reject(connectionProblem(error, host)));
    // Counts silence at any time, also in the midst of the body.
    request.setTimeout(silenceSeconds * 1000, () => request.destroy(passing(`the server ${host} fell silent`)));
    request.end();
  });
}

async function hop(
  url: URL,
  headers: Readonly<Record<string, string>>,
  options: SourceOptions,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const host = bare(url.hostname);
  const address = await pin(host, options);
  const silenceSeconds = options.silenceSeconds ?? SILENCE_SECONDS;
  const credentials = authorization(url);
  const common: RequestOptions = {
    method: 'GET',
    agent: false,
    signal,
    headers: { ...headers, host: url.host, connection: 'close', ...(credentials ? { authorization: credentials } : {}) },
    path: `${url.pathname}${url.search}`,
  };
  const tls = {
    // An address has no name to ask for; its certificate must then name the address.
    servername: isIP(host) === 0 ? host : '',
    ...(options.certificateAuthorities ? { ca: [...options.certificateAuthorities] } : {}),
  };
  const proxy = options.proxyUrl === null ? null : new URL(options.proxyUrl);
  if (url.protocol === 'https:') {
    const secure = proxy === null ? null : await tunnel(proxy, address, portOf(url), signal);
    const request = httpsRequest({
      ...common,
      ...tls,
      host: address,
      port: portOf(url),
      ...(secure === null ? {} : { createConnection: () => tlsConnect({ ...tls, host: address, socket: secure }) }),
    });
    // TLS inside a tunnel does not close the tunnel when it ends.
    if (secure !== null) request.once('close', () => secure.destroy());
    return answerOf(request, host, silenceSeconds);
  }
  if (proxy === null) return answerOf(httpRequest({ ...common, host: address, port: portOf(url) }), host, silenceSeconds);
  const proxyCredentials = authorization(proxy);
  const request = httpRequest({
    ...common,
    host: bare(proxy.hostname),
    port: portOf(proxy),
    path: `http://${bracketed(address)}:${portOf(url)}${url.pathname}${url.search}`,
    headers: { ...common.headers, ...(proxyCredentials ? { 'proxy-authorization': proxyCredentials } : {}) },
  });
  return answerOf(request, host, silenceSeconds);
}

const redirectStatuses = [301, 302, 303, 307, 308];

/** Asks for `text` and follows its redirects. The answer's body has not been read yet; its status is the caller's matter. */
export async function openSource(
  text: string,
  headers: Readonly<Record<string, string>>,
  options: SourceOptions,
  signal: AbortSignal,
): Promise<OpenSource> {
  let url = parseSourceUrl(text);
  for (let redirects = 0; ; redirects += 1) {
    const response = await hop(url, headers, options, signal);
    if (!redirectStatuses.includes(response.statusCode ?? 0)) return { response, host: bare(url.hostname) };
    response.destroy();
    const { location } = response.headers;
    if (location === undefined) throw refused(`the server ${url.hostname} redirects to nowhere`);
    if (redirects === REDIRECTS_MAX) throw refused(`the server redirects more than ${REDIRECTS_MAX} times`);
    const next = parseSourceUrl(location, url);
    if (url.protocol === 'https:' && next.protocol === 'http:')
      throw refused(`the server ${url.hostname} redirects from https to plain http`);
    // `new URL` keeps no credentials of the base; those written into the location are the server's own.
    url = next;
  }
}
