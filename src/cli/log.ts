import { type Logger, pino } from 'pino';

/**
 * Of a line's text, so that with every character in three bytes it is still written in one piece: what several
 * processes write into one pipe in pieces of up to PIPE_BUF, 4,096 bytes, is not mixed (write(2), pipe(7)).
 */
const pieceCharacters = 1365;

/**
 * The service's log, on stderr: stdout is for people and scripts that wait for the address. Lines of several processes
 * are not mixed.
 * @param processNumber of one under a supervisor
 */
export function openLog(level: string, processNumber?: number): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid, ...(processNumber !== undefined && { process: processNumber }) },
    },
    pino.destination({ dest: 2, sync: false, minLength: 0, maxWrite: pieceCharacters }),
  );
}
