/** The container's health check: ends with 0 while the service of this environment is ready. */
import { readConfig } from '../config.ts';
import { askHealth } from './health.ts';

const health = await askHealth(readConfig(process.env), 4_000);
console.log(health);
process.exitCode = health === 'ready' ? 0 : 1;
