// One question of a kind at a time: the service lets one list by names and one search of a user run at a time, also where nobody
// waits for the answer any more.

export class Turn {
  /** Resolves when the question that is under way has ended, whatever came of it. */
  #underWay;

  /**
   * What `run` answers, once the question before has ended. Whoever types on asks for the text that stands there by then, and for none
   * of those in between: rejected where it `isWanted()` no more.
   */
  async take(isWanted, run) {
    while (this.#underWay) await this.#underWay;
    if (!isWanted()) throw new Error('another text has been asked for'); // nobody looks at this answer
    const answer = run();
    this.#underWay = answer.catch(() => {}).then(() => (this.#underWay = undefined));
    return answer;
  }
}
