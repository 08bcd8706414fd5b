/** A thread that encrypts one contribution. */
import { parentPort, workerData } from 'node:worker_threads';
import { answerTo, type EncryptRequest } from '../../aggregate/encrypting.ts';

parentPort?.postMessage(await answerTo(workerData as EncryptRequest), []);
