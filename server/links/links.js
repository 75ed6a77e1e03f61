// Sends the token behind the # of the address, with what the form holds, when it is submitted.
const form = document.querySelector("form");
const status = document.querySelector("[role=status]");
const button = form.querySelector("button");
const token = location.hash.slice(1);

// Neither the history nor a shared screen needs it.
history.replaceState(null, "", location.pathname);

function say(text, failed) {
  status.textContent = text;
  status.className = failed ? "failed" : "";
}

if (!token) {
  form.hidden = true;
  say("The link is not whole: open it from the message once more.", true);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  say("One moment…", false);
  try {
    const reply = await fetch(form.dataset.call, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) }),
    });
    if (reply.ok) {
      form.hidden = true;
      say(form.dataset.done, false);
      return;
    }
    const { error } = await reply.json();
    say(error.message, true);
  } catch {
    say("The server cannot be reached. Try again.", true);
  }
  button.disabled = false;
});
