import { type StateOf, stateMachine } from '../state-machine.ts';

/** One template on one secondary store. The words are the API's download states. */
export const downloadStates = stateMachine('template', {
  NOT_DOWNLOADED: { start: 'DOWNLOAD_IN_PROGRESS', fail: 'DOWNLOAD_ERROR', remove: 'ABANDONED' },
  DOWNLOAD_IN_PROGRESS: { succeed: 'DOWNLOADED', fail: 'DOWNLOAD_ERROR', start: 'DOWNLOAD_IN_PROGRESS', remove: 'ABANDONED' },
  DOWNLOADED: { remove: 'ABANDONED' },
  DOWNLOAD_ERROR: { start: 'DOWNLOAD_IN_PROGRESS', remove: 'ABANDONED' },
  ABANDONED: {},
});
export type DownloadState = StateOf<typeof downloadStates>;

/** A copy of an image on a primary storage pool, made when the first volume needs it. */
export const imageCopyStates = stateMachine('image copy', {
  Creating: { succeed: 'Ready', remove: 'Removing' },
  Ready: { remove: 'Removing' },
  Removing: {},
});
export type ImageCopyState = StateOf<typeof imageCopyStates>;
