// The desk's own script: uses the bearer of the address, keeps lists up to date, talks to passkeys.
// Everything else works without it. Nothing here decides anything; the server does.
"use strict";

(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const post = async (path, fields) => {
    const answer = await reach(path, {
      method: "POST",
      headers: { accept: "application/json" },
      body: fields instanceof FormData ? new URLSearchParams(fields) : new URLSearchParams(Object.entries(fields)),
      credentials: "same-origin",
      redirect: "error",
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(words(said.error || { message: "The desk refused the request. Nothing was changed." }));
    return said;
  };
  const reach = async (path, options) => {
    try {
      return await fetch(path, options);
    } catch {
      throw new Error(`The desk does not answer. Is \`${one("[data-gone] code").textContent}\` still running? Nothing was changed.`);
    }
  };
  const words = (error) => [error.message, error.fate, error.next_step].filter(Boolean).join(" ");
  const complain = (place, text) => {
    if (!place) return;
    place.textContent = text;
    place.hidden = !text;
  };

  // --- Times in the person's own zone; what the server wrote stays as the title.
  const localTimes = (root) => {
    for (const item of all("time", root)) {
      const at = new Date(item.dateTime);
      const style = { dateStyle: "medium", timeStyle: /:\d\d:\d\d/.test(item.textContent) ? "medium" : "short" };
      item.title = item.textContent;
      item.textContent = new Intl.DateTimeFormat(undefined, style).format(at);
    }
  };

  // --- The bearer: out of the address bar immediately, then exchanged for a session.
  const bearer = new URLSearchParams(location.hash.slice(1)).get("key");
  if (bearer !== null) history.replaceState(null, "", location.pathname + location.search);

  const signIn = async () => {
    const page = one("[data-sign-in]");
    if (!page) return;
    try {
      if (bearer !== null) {
        const { next } = await post("/session", { key: bearer, next: page.dataset.next });
        location.replace(next);
        return;
      }
      // A link from another site carries no cookie, although this browser may be signed in.
      const answer = await fetch("/session", { credentials: "same-origin" });
      if ((await answer.json()).signed_in) location.replace(page.dataset.next);
    } catch (error) {
      complain(one("[data-bearer-problem]"), error.message);
    }
  };

  // --- Lists that update automatically while the page is visible.
  const PAUSE = 2000;
  const HIDDEN_PAUSE = 10_000;
  const WAITS = "waits for your approval";
  const MISSED = 3;
  const announcer = one("[data-announcer]");
  const states = (root) => new Map(all("[data-key]", root).map((item) => [item.dataset.key, item.dataset.state]));
  const labelOf = (item) => (one("h3, th, .prompt-line", item) || item).textContent.trim().slice(0, 80);

  const follow = (region) => {
    let last = "";
    let missed = 0;
    const look = async () => {
      const answer = await fetch(region.dataset.live, { credentials: "same-origin", headers: { accept: "text/html" } });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) return undefined;
      const text = await answer.text();
      // Somebody who reads or types in there must not lose their place.
      const typed = all("input:not([type=hidden])", region).some((field) => field.value !== field.defaultValue);
      if (text === last || typed || region.contains(document.activeElement)) return undefined;
      const before = states(region);
      const open = all("details[data-keep][open]", region).map((item) => item.dataset.keep);
      region.innerHTML = text;
      for (const item of all("details[data-keep]", region)) item.open = open.includes(item.dataset.keep);
      localTimes(region);
      last = text;
      return announce(region, before);
    };
    const announce = (place, before) => {
      const news = all("[data-key]", place).filter((item) => before.get(item.dataset.key) !== item.dataset.state);
      const wanted = place.dataset.reloadOn;
      if (wanted && news.some((item) => item.dataset.state === wanted)) return location.reload();
      const waits = news.filter((item) => item.dataset.state === WAITS);
      if (waits.length && notifies()) new Notification("Callsheet: a clip waits for you", { body: waits.map((item) => one("h3", item)?.textContent || "").join(" ") });
      if (news.length) announcer.textContent = news.map((item) => `${item.dataset.state}: ${labelOf(item)}`).join(". ");
      const count = all(`[data-state="${WAITS}"]`, place).length;
      if (place.dataset.live === "/live") {
        document.title = document.title.replace(/^\(\d+\) /, "");
        if (count) document.title = `(${count}) ${document.title}`;
      }
      return undefined;
    };
    const tick = async () => {
      if (!document.hidden || notifies()) {
        try {
          await look();
          missed = 0;
        } catch {
          // The desk was closed, or the computer slept; the next request shows which.
          missed += 1;
        }
        one("[data-gone]").hidden = missed < MISSED;
      }
      setTimeout(tick, document.hidden ? HIDDEN_PAUSE : PAUSE);
    };
    setTimeout(tick, PAUSE);
  };

  // --- A notice of this browser, if the person wants it. It says the model, never the prompt or the price.
  const notifies = () => "Notification" in window && Notification.permission === "granted" && localStorage.getItem("notify") === "yes";
  const offerNotices = () => {
    const button = one("[data-notify]");
    if (!button || !("Notification" in window)) return;
    const show = () => {
      button.hidden = Notification.permission === "denied";
      button.textContent = notifies() ? "Stop notifying me in this browser" : "Notify me in this browser when something waits";
    };
    button.addEventListener("click", async () => {
      const wanted = !notifies();
      if (wanted) await Notification.requestPermission();
      localStorage.setItem("notify", wanted ? "yes" : "no");
      show();
    });
    show();
  };

  // --- Copying, and everything by the keyboard.
  const copyOnClick = () => {
    document.addEventListener("click", async (event) => {
      const button = event.target.closest("[data-copy]");
      if (!button) return;
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        announcer.textContent = "Copied.";
        button.textContent = "Copied";
      } catch {
        announcer.textContent = "The browser does not allow copying.";
      }
    });
    for (const button of all("[data-help]")) button.addEventListener("click", () => one("[data-keys]").showModal());
  };

  const move = (step) => {
    const items = all("[data-item]").filter((item) => item.checkVisibility());
    const at = items.findIndex((item) => item.contains(document.activeElement));
    const item = items[at < 0 ? 0 : Math.min(Math.max(at + step, 0), items.length - 1)];
    if (!item) return;
    item.tabIndex = -1;
    item.focus();
    item.scrollIntoView({ block: "nearest" });
  };
  const current = (selector) => {
    const item = document.activeElement.closest("[data-item]") || one("[data-item]");
    return (item && one(selector, item)) || one(`main ${selector}`);
  };
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    a: () => {
      const sheet = current("details[data-approve]");
      if (sheet) sheet.open = true;
      const field = one("form[action$='/approve'] :is(input:not([type=hidden]), button)", sheet || document);
      if (field) all("form[action$='/approve'] :is(input:not([type=hidden]), button)", sheet || document).find((item) => item.checkVisibility()).focus();
    },
    d: () => {
      const button = current("form:is([action$='/decline'], [action='/dismiss']) button");
      if (button) button.focus();
    },
    "/": () => (one("[data-search]") ? one("[data-search]").focus() : location.assign("/tasks#q")),
    "?": () => one("[data-keys]").showModal(),
  };
  const listenToKeys = () => {
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea, dialog, video");
      if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
    if (location.hash === "#q" && one("[data-search]")) one("[data-search]").focus();
  };

  // --- Passkeys
  const canPasskey = () => Boolean(window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON);

  const sign = async (path, form) => {
    const { nonce, options } = await post(path, new FormData(form));
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(options));
    const credential = await navigator.credentials.get({ publicKey });
    return JSON.stringify({ nonce, credential: credential.toJSON() });
  };

  const register = async (path, form) => {
    const { nonce, options } = await post(path, new FormData(form));
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(options));
    const credential = await navigator.credentials.create({ publicKey });
    return JSON.stringify({ nonce, credential: credential.toJSON() });
  };

  const withPasskey = async (form, button, problem, ceremony) => {
    complain(problem, "");
    button.disabled = true;
    try {
      form.elements.passkey.value = await ceremony();
      // Only the passkey's signature counts; a passphrase that was also typed is not sent.
      if (form.elements.passphrase) form.elements.passphrase.value = "";
      form.submit();
    } catch (error) {
      const dismissed = error.name === "NotAllowedError" || error.name === "AbortError";
      complain(problem, dismissed ? "The passkey was not used. Nothing was changed." : error.message);
      button.disabled = false;
    }
  };

  const offerPasskeys = () => {
    document.documentElement.classList.add("passkeys");
    document.addEventListener("submit", (event) => {
      const form = event.target.closest("form[data-passkey]");
      if (!form) return;
      event.preventDefault();
      withPasskey(form, one("button", form), one("[data-passkey-problem]", form), () => sign(form.dataset.passkey, form));
    });
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-passkey-form]");
      if (!button) return;
      event.preventDefault();
      const { form } = button;
      withPasskey(form, button, one("[data-passkey-problem]", form), () => sign(button.dataset.passkeyForm, form));
    });
    for (const form of all("form[data-register]")) {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const problem = one("[data-passkey-problem]", form);
        withPasskey(form, one("button", form), problem, () => register(form.dataset.register, form));
      });
    }
  };

  // --- A second click does not send a form again.
  const sendOnce = () => {
    document.addEventListener("submit", (event) => {
      const form = event.target;
      // After this turn: the browser reads the fields first, and it skips disabled buttons.
      if (!event.defaultPrevented && form.method === "post") setTimeout(() => all("button", form).forEach((button) => (button.disabled = true)));
    });
    addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
  };

  document.documentElement.classList.add("script");
  signIn();
  localTimes(document);
  all("[data-live]").forEach(follow);
  if (canPasskey()) offerPasskeys();
  sendOnce();
  offerNotices();
  copyOnClick();
  listenToKeys();
  const problem = one("[data-focus]");
  if (problem) problem.focus();
})();
