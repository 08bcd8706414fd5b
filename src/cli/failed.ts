/** What a command cannot do; its text says what to do next. */
export class Failed extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'Failed';
  }
}
