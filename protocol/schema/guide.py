"""The words of the reference that no declaration holds: what this is, and how to begin."""

from protocol.frames import SUBPROTOCOL
from protocol.schema.blocks import Code, Paragraph, Section, Table

_SIGN_IN = """\
curl http://127.0.0.1:8000/api/auth/register -H 'Content-Type: application/json' \\
  -d '{"email": "ada@example.com", "password": "Analytical-1843!",
       "firstName": "Ada", "lastName": "Lovelace"}'"""

_OAUTH = """\
const redirectUri = location.origin + "/signed-in";
const started = await post("/api/auth/oauth/google/start", { redirectUri });
sessionStorage.setItem("state", started.state);
location.assign(started.url);

// On the page /signed-in:
const query = new URLSearchParams(location.search);
const user = query.get("user"); // Apple's, on the first sign-in
const signedIn = await post("/api/auth/oauth/google", {
  code: query.get("code"),
  redirectUri,
  state: sessionStorage.getItem("state"),
  ...(user ? { user: JSON.parse(user) } : {}),
}); // { user, accessToken, refreshToken, expiresIn, isNewUser }"""

_JAVASCRIPT = """\
import { IndexedDbStore, MemoryClient } from "@memory-app/client";

const client = new MemoryClient({
  url: "ws://127.0.0.1:8000/ws",
  credentials: { getToken: async () => accessToken },
  store: await IndexedDbStore.open("memories"),
});
client.connect();

const { memory } = await client.call("memories.create", { title: "Lisbon" });
const document = await client.open(memory.id);
document.doc.getText("content").insert(0, "Pastéis at the corner.");
document.on("sync", ({ state }) => console.log(state)); // "saved": on disk
await client.enqueue("memories.update", { id: memory.id, isFavorite: true }); // offline too"""

_PYTHON = """\
from pathlib import Path

from protocol.client import Client
from protocol.memories import MEMORIES_CREATE, MEMORIES_UPDATE, CreateMemory, UpdateMemory
from protocol.offline import SqliteStore

store = SqliteStore(Path("offline.db"))  # one for each account
async with Client("ws://127.0.0.1:8000/ws", token=access_token, store=store) as client:
    await client.connected()
    made = await client.call(MEMORIES_CREATE, CreateMemory(title="Lisbon"))
    document = await client.open(made.memory.id)
    document.text += "Pastéis at the corner."
    await document.saved(timeout=10)  # committed to disk
    favourite = UpdateMemory(id=made.memory.id, is_favorite=True)
    await client.enqueue(MEMORIES_UPDATE, favourite)  # offline too
    async for outcome in client.outcomes():
        print(outcome.request.operation, outcome.error or outcome.response)"""

_YJS = """\
import { WebsocketProvider } from "y-websocket";

const provider = new WebsocketProvider("ws://127.0.0.1:8000/yjs", memoryId, doc, {
  params: { token }, // an access token, or one from documents.token
});"""


def overview() -> Section:
    """What there is, and what it promises."""
    return Section(
        "Overview",
        (
            Paragraph(
                "A realtime sync server for memories: every device keeps a copy, edits it online"
                " or not, and all copies converge. One WebSocket carries everything but signing"
                " in."
            ),
            Table(
                ("Address", "What it is"),
                (
                    ("`/ws`", f"The socket, `{SUBPROTOCOL}`: [Operations](#operations) and edits."),
                    (
                        "`/yjs/{memoryId}`",
                        "One memory's document for stock Yjs clients, as y-websocket speaks it.",
                    ),
                    ("`/api/auth/…`", "Signing in, over [REST](#rest)."),
                ),
            ),
        ),
        (
            Section(
                "Documents",
                (
                    Paragraph(
                        "Each memory is a Yjs document: `content` is a Y.Text with the body,"
                        " `properties`, `tags` and `messages` are Y.Maps. The server keeps its"
                        " updates in a log with gapless offsets under an epoch. Open it with"
                        " [documents.open](#documentsopen), naming the epoch and offset the device"
                        " has, and only what it misses comes back."
                    ),
                    Paragraph(
                        "Send an edit as an update frame. Its ack means that it is committed to"
                        " disk: nothing is acked or shown to others before. A device is not sent"
                        " its own updates; acks and pushes together leave no hole in the offsets."
                        " A refused update is an error that names its channel and `clientSeq`;"
                        " the channel then refuses updates until it is opened again."
                    ),
                ),
            ),
            Section(
                "Threads",
                (
                    Paragraph(
                        "`messages` in the document is the memory's thread: a Y.Map of message id"
                        " (a UUID in lower case with hyphens) to Y.Map, with a Y.Text `body` and"
                        " the plain values `messageType`, `userId`, `parentMessageId`, `metadata`,"
                        " `attachments`, `isAiGenerated`, `status` and `createdAt`. Owner and"
                        " editors may write it there, also offline; whoever may comment writes by"
                        " [messages.create](#messagescreate). Several may edit one message at"
                        " once, and all of it survives."
                    ),
                    Paragraph(
                        "`userId` in a document is a claim of whoever wrote it. Whose a message is"
                        " the server tells from the Yjs client that began its `body`, which"
                        " belongs to one account: ask [messages.list](#messageslist). Who may"
                        " write the document can still change the text of others there. Files of"
                        " the author's that the author, and nobody else, has named in"
                        " `attachments` are shown to all members as long as they are named there."
                        " One that its owner has moved out with [files.update](#filesupdate) comes"
                        " back by a call of the owner's alone. A message's id counts within its"
                        " memory: the same id in another one is another message."
                    ),
                    Paragraph(
                        "[messages.markRead](#messagesmarkread) moves a member's own read mark."
                        " It goes by when messages reached the server, so that one that was"
                        " written offline long ago is new when it comes. A memory's `lastReadAt`"
                        " and `unreadCount` come with the feed to the member's other devices."
                    ),
                ),
            ),
            Section(
                "The feed",
                (
                    Paragraph(
                        "A device that was away asks [feed.changes](#feedchanges) from its last"
                        " cursor and gets what changed since, however long that was. An item may"
                        " come twice, and none is left out. With `reset` it starts from nothing."
                    ),
                    Paragraph(
                        "Items are of memories, categories, files and the account itself: their"
                        " `kind` says which. Files are the account's own, and those in memories"
                        " it is a member of, whoever put them there; their `userId` alone may"
                        " change them. Pass over an item whose kind is new to you. Both clients"
                        " read the feed on by themselves, over lost connections too:"
                        " `follow`. Keep a page's cursor together with what it brought."
                    ),
                ),
            ),
            Section(
                "Writing offline",
                (
                    Paragraph(
                        "All that an app writes can be written without a connection. What is in a"
                        " document is edited there. Everything else (a new memory, its category,"
                        " a favourite, a read mark, a deletion) waits as a request in a line on"
                        " the device: both clients have one, `enqueue`. A request may be sent"
                        " twice without harm, if what it makes has an `id` of the device's own."
                    ),
                    Paragraph(
                        "Who keeps such a line sends one request after the other, and leaves each"
                        " in the line until its answer is there. An error whose code is"
                        " `temporary` means: again later, after `retryAfter` if it is given; what"
                        " names one of the same ids waits behind it, and the rest goes by. So do"
                        " errors about the session (`unauthorized`, `token_expired`,"
                        " `session_ended`, `account_disabled`), until the account has signed in."
                        " Any other error is final: the person is told, and what builds on it"
                        " will be refused in its turn."
                    ),
                    Paragraph(
                        "A document whose memory waits to be made is opened when that is done;"
                        " sooner it is `not_found`. A queued [messages.markRead](#messagesmarkread)"
                        " names the message that was read: without one it covers what came in the"
                        " meantime."
                    ),
                ),
            ),
            Section(
                "The trash",
                (
                    Paragraph(
                        "A deleted memory goes to the trash: its channels end, the feed says"
                        " `deleted`, calls and edits get `gone`. For 30 days, unless the operator"
                        " chose otherwise, its owner may take it back by"
                        " [memories.restore](#memoriesrestore); the `details` of a `gone` from"
                        " [memories.get](#memoriesget) say until when. It is then as it was, and"
                        " the feed shows it again; open its document anew. After that time, or by"
                        " [memories.purge](#memoriespurge), it is gone for good, and so is its id:"
                        " a create with it gets `gone`."
                    ),
                ),
            ),
            Section(
                "Rights and roles",
                (
                    Paragraph(
                        "An account has the role `user`, `premium` or `admin`, and a role brings"
                        " rights: [account.me](#accountme) names them, and an operation says which"
                        " one it needs. By default every account has all of them but"
                        " `manage:users`, which is an admin's. A server set to `FEATURES=tiers`"
                        " gives `user` only `read:memories` and `write:memories`, `premium` also"
                        " `delete:memories`, `access:ai` and `sync:whatsapp`. A role that changes"
                        " counts at once, whatever an access token still says: open sockets get"
                        " [account.changed](#accountchanged)."
                    ),
                ),
            ),
            Section(
                "Limits",
                (
                    Paragraph(
                        "Who calls too often is refused with `rate_limited` and told how many"
                        " seconds to wait: in `retryAfter`, on REST in the header `Retry-After`."
                        " Limited calls of REST say with every answer how much is left, in"
                        " `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds)."
                        " Signing in rightly and refreshing do not count. Of an address whose"
                        " hellos fail too often, further ones that fail are answered"
                        " `rate_limited` and closed with 4429; one with a good token is let in."
                        " Updates and presence are never refused for being many: the server reads"
                        " them more slowly."
                    ),
                ),
            ),
            Section(
                "Sharing",
                (
                    Paragraph(
                        "A memory is `private` until its owner invites somebody: an e-mail address"
                        " with [sharing.invite](#sharinginvite), or all who have a link with"
                        " [sharing.link](#sharinglink). Then it is `shared`. A `public` one can be"
                        " read by every account that knows its id, and is in the lists and feeds"
                        " of its members alone. Set to `private` again"
                        " ([memories.update](#memoriesupdate)), it has no member but the owner."
                    ),
                    Table(
                        ("Role", "May"),
                        (
                            ("`owner`", "All of it: share, delete, hand over."),
                            ("`editor`", "Read, and write updates."),
                            ("`commenter`", "Read, and write messages by operation; no updates."),
                            ("`viewer`", "Read. So may who is no member of a public memory."),
                        ),
                    ),
                    Paragraph(
                        "A role that changes holds at once on every open socket. The channel stays,"
                        " the event [sharing.changed](#sharingchanged) tells the role, and"
                        " `canWrite` is as it says from there on. What a device sent before it was"
                        " made a reader may come back as `forbidden`; made an editor, it opens the"
                        " document again, at its offset, and sends what it kept. Whose membership"
                        " ends gets an error `forbidden` that names the channel, which is closed,"
                        " and the memory as deleted in the feed; a stock client is closed with"
                        " 4403."
                    ),
                    Paragraph(
                        "A link is `PUBLIC_URL/join#token`. The token is in the fragment, which"
                        " browsers send to nobody: the page at `/join` reads it and calls"
                        " [sharing.accept](#sharingaccept). A letter to an invited address leads to"
                        " `PUBLIC_URL/join#` with the invitation's id, which is accepted by the"
                        " account of that address alone."
                    ),
                ),
            ),
        ),
    )


def ways_in() -> Section:
    """Signing in by more than a password, as an app goes about it."""
    return Section(
        "Ways in",
        (Paragraph("What an app does for links in messages, for two-factor and for providers."),),
        (
            Section(
                "Links in messages",
                (
                    Paragraph(
                        "Who registers is sent a link to `PUBLIC_URL/verify#token`; a page there"
                        " confirms the address. An app of your own may read the token behind the"
                        " `#` and call `POST /api/auth/verify`. `user.isVerified` says whether it"
                        " was; [account.sendVerification](#accountsendverification) sends the"
                        " message again. A forgotten password goes the same way:"
                        " `POST /api/auth/forgot` always answers 202, the link is"
                        " `PUBLIC_URL/reset#token`, and `POST /api/auth/reset` ends all sessions."
                    ),
                ),
            ),
            Section(
                "Two-factor",
                (
                    Paragraph(
                        "[account.enableTwoFactor](#accountenabletwofactor) answers with what to"
                        " show as a QR code; [account.confirmTwoFactor](#accountconfirmtwofactor)"
                        " turns it on and answers with the recovery codes, once. From then on a"
                        " login with the right password is refused with `two_factor_required`: ask"
                        " for the code and send the same with `code`. A recovery code will do. A"
                        " code works once; after five wrong ones in 15 minutes the answer is"
                        " `rate_limited`. Signing in with a provider asks too: send the same with"
                        " `twoFactorCode`. Where the server sends mail, two-factor and"
                        " [account.link](#accountlink) are `forbidden` until `user.isVerified`."
                        " What was set before an address was confirmed is gone when it is."
                    ),
                ),
            ),
            Section(
                "Google and Apple",
                (
                    Paragraph(
                        "`GET /api/auth/providers` says what to offer. The browser goes away in"
                        " between: keep `state` in `sessionStorage`, or a mobile app in memory, and"
                        " open `url` in the system's browser. Coming back, send `code` from the"
                        " address with the `state` that you kept. The one in the address is another"
                        " and of no use, so nobody can slip their own sign-in under your app."
                        " `redirectUri` is the app's page with both providers. With Apple the"
                        " server stands in between, and `user` is there on somebody's first sign-in"
                        " alone."
                        " A `conflict` means that an account with this address has not proven it:"
                        " have a new password set by a link, which proves it, then start again."
                        " [account.link](#accountlink), with the same fields from another start,"
                        " adds a provider to the account that is signed in."
                    ),
                    Code("typescript", _OAUTH),
                ),
            ),
        ),
    )


def quick_start() -> Section:
    """From nothing to a saved edit, in each client."""
    return Section(
        "Quick start",
        (
            Paragraph(
                "Make an account, or sign in to one, over REST. The `accessToken` it answers with"
                " opens the socket and lasts 15 minutes; `POST /api/auth/refresh` with the"
                " `refreshToken` gets the next two. Each refresh token works once."
            ),
            Code("shell", _SIGN_IN),
        ),
        (
            Section(
                "JavaScript and TypeScript",
                (
                    Paragraph(
                        "For browsers and React Native: the package in `protocol/javascript`,"
                        " whose README says how to install it. It reconnects by itself, and keeps"
                        " edits and requests made offline until they are on the server. `getToken`"
                        " is asked for every connection, so let it refresh."
                    ),
                    Code("typescript", _JAVASCRIPT),
                ),
            ),
            Section(
                "Python",
                (
                    Paragraph(
                        "On asyncio: `pip install` this repository. `token` may also be a"
                        " coroutine function that gets one. What a store holds of edits and"
                        " requests is sent with the next connection, whichever run makes it."
                    ),
                    Code("python", _PYTHON),
                ),
            ),
            Section(
                "Stock Yjs clients",
                (
                    Paragraph(
                        "Editors that already speak y-websocket work unchanged, beside devices on"
                        " the socket and just as durably. They reconnect with the token they were"
                        " given: [documents.token](#documentstoken) makes one that lasts."
                    ),
                    Code("typescript", _YJS),
                ),
            ),
        ),
    )
