// What is said, and the answers under way: they go on whichever conversation is open.

import { call, Failure, lines } from "./api.js";
import { toast } from "./overlay.js";
import { address, title } from "./names.js";
import { Answer } from "./talk.js";

/** The part of the page that asks. */
export class Speaker {
  answers = new Map(); // under way, by conversation
  beginning = null; // the one whose conversation has no name yet

  get busy() {
    return this.current === null ? this.beginning !== null : this.answers.has(this.current);
  }

  /** An answer that is under way here goes on where it is. */
  async pickUp(name) {
    const mine = this.answers.get(name);
    const last = this.talk.last;
    if (mine) {
      if (last?.turn.state === "open" && last.turn.prompt === mine.prompt) this.attach(mine, last);
      else this.show(mine, mine.prompt, mine.replace);
    } else if (last?.turn.state === "open") this.watch(name, last);
  }

  show(answer, prompt, replace) {
    this.attach(answer, this.talk.begin(prompt, replace, answer.pictures?.length));
  }

  attach(answer, view) {
    view.begin();
    answer.view = view;
    answer.flow();
  }

  /** Another tab's answer, or the one that this tab left when it was loaded again. */
  async watch(name, view) {
    const answer = new Answer(this, lines("watch", { session: name }));
    answer.replace = 0;
    answer.prompt = view.turn.prompt;
    this.answers.set(name, answer);
    this.attach(answer, view);
    try {
      await answer.read(() => {});
    } catch {
      // A shell is answering, or it has just ended: what is kept will tell.
      this.answers.delete(name);
      if (this.current !== name) return;
      view.show(view.turn);
      this.composer.busy(false);
      setTimeout(() => this.current === name && !this.busy && !document.hidden && this.look(), 1500);
      return;
    }
    await this.over(answer);
  }

  async send({ prompt, replace = 0, pictures = [], ...settings }) {
    if (this.busy) return;
    const name = this.current;
    const seen = this.talk.last?.turn.number ?? 0;
    const images = pictures.map(({ picture }) => picture); // without any, a turn keeps those of the one that it replaces
    const params = { ...settings, prompt, ...(images.length ? { images } : {}), session: name, ...(replace ? { replace, turns: seen } : {}) };
    const answer = new Answer(this, lines("turn", params));
    Object.assign(answer, { prompt, replace, pictures });
    if (name === null) this.beginning = answer;
    else this.answers.set(name, answer);
    this.show(answer, prompt, replace);
    this.composer.busy(true);
    this.draft("");
    try {
      await answer.read((found) => this.named(answer, found));
    } catch (failure) {
      return this.refused(answer, failure, settings, name);
    }
    await this.over(answer);
  }

  named(answer, name) {
    const fresh = this.beginning === answer;
    if (fresh) {
      this.beginning = null;
      this.answers.set(name, answer);
      if (this.current === null) {
        this.current = name;
        history.pushState(null, "", address(name));
        this.headFor(name);
      }
    }
    this.reload();
  }

  async over(answer) {
    this.answers.delete(answer.session);
    const shown = () => this.current === answer.session && answer.view !== null; // a person may leave while we ask
    if (shown() && answer.deleted) this.deleted(answer.session);
    else if (shown()) {
      const kept = await call("sessions.show", { session: answer.session, after: answer.view.turn.number - 1 }).catch((failure) => failure);
      if (shown()) this.settle(answer, kept);
    } else if (answer.failed) toast(`${title(answer.session)}: ${answer.failed.message}`);
    this.composer.busy(this.busy);
    this.reload();
    this.refresh();
  }

  /** `kept` is what the daemon has of its turn, or the Failure to say so. */
  settle(answer, kept) {
    if (!(kept instanceof Failure)) this.talk.settle(answer, kept);
    else if (this.renaming.has(answer.session)) this.talk.settle(answer, null);
    else if (kept.kind !== "Offline" && !this.talk.session) this.lost(answer);
    else if (kept.kind === "SessionNotFound") {
      this.go(null);
      this.failed(kept);
    } else this.talk.settle(answer, null);
  }

  deleted(name) {
    toast(`${title(name)} was deleted in another tab`);
    this.go(null);
  }

  /** A conversation has another name now: where it is open it stays so, and what is under way in it goes on. */
  renamed(before, after) {
    const answer = this.answers.get(before);
    if (answer) {
      this.answers.delete(before);
      this.answers.set(after, answer);
      answer.session = after;
    }
    if (this.current !== before) return;
    this.draft("");
    this.current = after;
    this.draft(this.composer.box.value);
    history.replaceState(null, "", address(after));
    const settled = this.talk.session?.name === before && !this.talk.last?.live;
    if (!settled && !answer?.view) return void this.open(after); // what was asked for under its old name does not come
    if (settled) this.talk.session.name = after;
    this.headFor(after);
  }

  /** A first message whose conversation was not even made: it is given back. */
  lost(answer) {
    this.current = null;
    history.replaceState(null, "", location.pathname);
    this.headFor(null);
    this.talk.empty();
    this.composer.restore(answer.prompt, {}, answer.pictures);
    if (answer.failed) toast(answer.failed.message, null, 10);
  }

  async refused(answer, failure, settings, name) {
    if (name === null) this.beginning = null;
    else this.answers.delete(name);
    this.failed(failure);
    if (this.current !== name) return;
    if (answer.view) this.talk.takeBack(answer.view);
    if (name === null) this.talk.empty();
    if (!answer.replace) this.composer.restore(answer.prompt, settings, answer.pictures);
    this.composer.busy(false);
    if (failure.kind === "moved_on") await this.open(name);
  }

  async stop() {
    const name = this.current;
    if (name && this.answers.has(name)) await call("stop", { session: name }).catch((failure) => this.failed(failure));
  }

  /** A copy of the conversation up to this turn; with `prompt`, that takes the turn's place there. */
  async forkAt(turns, prompt = null) {
    try {
      const made = await call("sessions.fork", { session: this.current, turns });
      history.pushState(null, "", address(made.name));
      await this.open(made.name);
      toast(`This is a copy: ${title(made.name)}`);
      this.reload();
      if (prompt !== null) await this.send({ prompt, replace: 1 });
    } catch (failure) {
      this.failed(failure);
    }
  }
}
