/** The token cannot be opened as things are. The message is public: no paths, no PKCS#11 text. */
export class TokenRefusal extends Error {
  constructor(detail: string, cause?: unknown) {
    super(detail, cause === undefined ? undefined : { cause });
    this.name = 'TokenRefusal';
  }
}
