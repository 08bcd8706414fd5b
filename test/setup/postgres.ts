import { afterAll } from 'vitest';
import { removeSharedPostgres } from '../support/service.ts';

afterAll(removeSharedPostgres);
