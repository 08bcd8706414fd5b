/** What stands below the list of commands. */
export const programHelp = `Environment:
  STATHERA_URL              the service (http://127.0.0.1:8300)
  STATHERA_TOKEN_FILE       a file with your token alone (STATHERA_DATA_DIR/bootstrap-token)
  STATHERA_DATA_DIR         the service's data directory (./data)
  STATHERA_ALLOW_CLEARTEXT  1 lets token and data go to another machine over http:
  NODE_EXTRA_CA_CERTS       PEM file with more authorities to trust
  serve, init, doctor, hsm and audit verify take the service's other settings too: docs/configuration.md.

Exit codes:
  0    done
  1    failed; stderr says why and what to do next
  2    the command line is wrong
  130  ended by Ctrl-C (143: by SIGTERM); nothing half-done is left
  141  whoever read the output has gone

Secrets come from files and go to files or stdout, never into arguments, which other users of the machine can see.
`;
