/** Makes our own QCOW2 of an inspected image, so that nothing a stranger has written is ever opened by a host. */
import { chmod, mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';
import { withImageFile } from '../inspect/image-file.ts';
import { type ImageFormat, inspectImage } from '../inspect/index.ts';
import { runSandboxed, type SandboxOutcome } from './sandbox.ts';

/** QEMU's names of the formats; whoever reads a file is always told, never left to guess. */
const drivers = { QCOW2: 'qcow2', RAW: 'raw', VHD: 'vpc', VHDX: 'vhdx', VMDK: 'vmdk' } as const;
export type ConvertibleFormat = keyof typeof drivers;
export const isConvertible = (format: ImageFormat): format is ConvertibleFormat => format in drivers;

const MEBIBYTE = 1024 * 1024;
const MEMORY_BYTES = 1024 * MEBIBYTE;
/** Slow enough for an emulated processor. */
const MEBIBYTES_PER_CPU_SECOND = 8;

const refusal = (sentence: string, { complaint, exitCode, killedBy }: SandboxOutcome): CloudError =>
  new CloudError('InvalidParameter', sentence, { complaint, exitCode, killedBy });

export interface Converted {
  readonly sizeBytes: number;
  readonly virtualSizeBytes: number;
}

/** `target` is a folder that is made, and holds `image.qcow2` in the end. */
export async function convertImage(
  source: string,
  format: ConvertibleFormat,
  target: string,
  virtualSizeBytes: number,
  signal: AbortSignal,
): Promise<Converted> {
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { mode: 0o700 });
  const image = join(target, 'image.qcow2');
  const cpuSeconds = 60 + Math.ceil(virtualSizeBytes / MEBIBYTE / MEBIBYTES_PER_CPU_SECOND);
  const limits = {
    cpuSeconds,
    memoryBytes: MEMORY_BYTES,
    // What does not compress is stored as it is, and the tables come on top.
    fileBytes: Math.ceil(virtualSizeBytes * 1.02) + 64 * MEBIBYTE,
    timeoutSeconds: 4 * cpuSeconds,
    signal,
  };
  const converted = await runSandboxed(
    'qemu-img',
    [
      ...['convert', '-f', drivers[format], '-O', 'qcow2', '-c', '-m', '8', '-W'],
      ...['-o', 'compression_type=zstd,compat=1.1', '--', '/source', '/target/image.qcow2'],
    ],
    { ...limits, readable: { '/source': source }, writable: { '/target': target } },
  );
  if (converted.killedBy !== null || (converted.exitCode ?? 0) > 128)
    throw refusal('the image takes more time, memory or space to convert than its size allows', converted);
  if (converted.exitCode !== 0) throw refusal('the image is damaged: it cannot be converted', converted);

  const checked = await runSandboxed('qemu-img', ['check', '-f', 'qcow2', '--', '/image'], {
    ...limits,
    readable: { '/image': image },
    writable: {},
  });
  if (checked.exitCode !== 0) throw new CloudError('Internal', 'the converted image is not sound', { complaint: checked.complaint });
  await chmod(image, 0o644);

  // What leaves here is held against the same rules as what came in.
  const slack = 16 * MEBIBYTE;
  const inspected = await withImageFile(image, (file) => inspectImage(file, 'QCOW2', virtualSizeBytes + slack));
  return { sizeBytes: (await stat(image)).size, virtualSizeBytes: inspected.virtualSizeBytes };
}
