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
      throw new Error("The desk does not answer. Is `callsheet desk` still running? Nothing was changed.");
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
      const inside = region.contains(document.activeElement);
      if (text === last || inside) return undefined;
      const before = states(region);
      region.innerHTML = text;
      localTimes(region);
      last = text;
      return announce(region, before);
    };
    const announce = (place, before) => {
      const news = all("[data-key]", place).filter((item) => before.get(item.dataset.key) !== item.dataset.state);
      const wanted = place.dataset.reloadOn;
      if (wanted && news.some((item) => item.dataset.state === wanted)) return location.reload();
      if (news.length) announcer.textContent = news.map((item) => `${item.dataset.state}: ${labelOf(item)}`).join(". ");
      const count = all('[data-state="waits for your approval"]', place).length;
      if (place.dataset.live === "/live") {
        document.title = document.title.replace(/^\(\d+\) /, "");
        if (count) document.title = `(${count}) ${document.title}`;
      }
      return undefined;
    };
    const tick = async () => {
      if (!document.hidden) {
        try {
          await look();
          missed = 0;
        } catch {
          // The desk was closed, or the computer slept; the next request shows which.
          missed += 1;
        }
        one("[data-gone]").hidden = missed < MISSED;
      }
      setTimeout(tick, PAUSE);
    };
    setTimeout(tick, PAUSE);
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
    for (const form of all("form[data-passkey]")) {
      form.hidden = false;
      if (form.nextElementSibling && form.nextElementSibling.matches("[data-or]")) form.nextElementSibling.hidden = false;
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const problem = one("[data-passkey-problem]", form);
        withPasskey(form, one("button", form), problem, () => sign(form.dataset.passkey, form));
      });
    }
    for (const button of all("button[data-passkey-form]")) {
      button.hidden = false;
      button.addEventListener("click", (event) => {
        event.preventDefault();
        const { form } = button;
        const problem = one("[data-passkey-problem]", form);
        withPasskey(form, button, problem, () => sign(button.dataset.passkeyForm, form));
      });
    }
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
    for (const form of all('form[method="post"]')) {
      form.addEventListener("submit", (event) => {
        // After this turn: the browser reads the fields first, and it skips disabled buttons.
        if (!event.defaultPrevented) setTimeout(() => all("button", form).forEach((button) => (button.disabled = true)));
      });
    }
    addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
  };

  signIn();
  localTimes(document);
  all("[data-live]").forEach(follow);
  if (canPasskey()) offerPasskeys();
  sendOnce();
  const problem = one("[data-focus]");
  if (problem) problem.focus();
})();
