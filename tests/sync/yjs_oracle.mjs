// What Yjs makes of updates, for tests written in Python: a line of JSON in, a line of JSON out.
//
//   {"session": seed, "steps": n}         a random editing session of several clients
//     -> {"log": [update...], "states": [update...]}
//   {"apply": [update...]}                a document that takes these updates, in order
//     -> {"vector": [[client, clock]...], "pending": bool, "content": ..., "state": update}
//     or {"error": message}
//
// Updates are base64.
import { createInterface } from 'node:readline'
import * as Y from '../../protocol/javascript/node_modules/yjs/dist/yjs.mjs'

for (const name of ['log', 'info', 'warn', 'error']) console[name] = () => {}

const base64 = bytes => Buffer.from(bytes).toString('base64')

// Values as JSON, without what yrs rewrites: the sign of zero and 64-bit integers.
const value = x => {
  if (x === undefined) return { undefined: true }
  if (typeof x === 'bigint' || typeof x === 'number') return { number: String(Number(x)) }
  if (x instanceof Uint8Array) return { binary: base64(x) }
  if (Array.isArray(x)) return x.map(value)
  if (x && typeof x === 'object') {
    return { object: Object.keys(x).sort().map(key => [key, value(x[key])]) }
  }
  return x
}

// An item as units that stay the same however it is split.
const units = content => {
  switch (content.constructor) {
    case Y.ContentString: return content.str.split('')
    case Y.ContentFormat: return [] // Yjs takes out what is redundant, at times of its own
    case Y.ContentType: {
      const { type } = content
      return [{ type: type.constructor.name, name: type.nodeName ?? null, ...inside(type) }]
    }
    case Y.ContentEmbed: return [{ embed: value(content.embed) }]
    default: return content.getContent().map(x => ({ value: value(x) }))
  }
}

const inside = type => {
  const list = []
  for (let item = type._start; item !== null; item = item.right) {
    if (!item.deleted) list.push(...units(item.content))
  }
  const keys = [...type._map].filter(([, item]) => !item.deleted)
  keys.sort(([a], [b]) => (a < b ? -1 : 1))
  return { list, keys: keys.map(([key, item]) => [key, ...units(item.content)]) }
}

const apply = updates => {
  const doc = new Y.Doc()
  try {
    for (const update of updates) Y.applyUpdate(doc, Buffer.from(update, 'base64'))
    const roots = [...doc.share].map(([name, type]) => [name, inside(type)])
    const content = roots.filter(([, { list, keys }]) => list.length || keys.length)
    const answer = {
      vector: [...Y.decodeStateVector(Y.encodeStateVector(doc))],
      pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null,
      content: content.sort(([a], [b]) => (a < b ? -1 : 1)),
      state: base64(Y.encodeStateAsUpdate(doc))
    }
    doc.getText('content').toDelta() // as an application reads it
    for (const type of doc.share.values()) type.toJSON()
    return answer
  } catch (error) {
    return { error: error.stack }
  }
}

const random = seed => limit => {
  seed = (seed + 0x6d2b79f5) | 0
  let x = Math.imul(seed ^ (seed >>> 15), seed | 1)
  x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
  return ((x ^ (x >>> 14)) >>> 0) % limit
}

const session = (seed, steps) => {
  const below = random(seed)
  const one = list => list[below(list.length)]
  const log = []
  let unsent = []
  const docs = Array.from({ length: 1 + below(3) }, (_, i) => {
    const doc = new Y.Doc({ gc: below(4) > 0 })
    doc.clientID = one([1, 300, 70000, 4000000000]) + 10 * i
    doc.on('update', (update, origin) => {
      if (origin !== 'sync') {
        log.push(update)
        unsent.push([update, doc])
      }
    })
    return doc
  })
  const send = () => {
    for (const [update, from] of unsent) {
      for (const doc of docs) if (doc !== from) Y.applyUpdate(doc, update, 'sync')
    }
    unsent = []
  }

  const words = ['a', 'bc', 'def ', '😀', 'é', 'x😀y', '漢字', '\n']
  const values = [1, -5, 2 ** 40, 1.5, -0, 'e😀', true, null, { a: 1, b: { c: [] } }, [7n, [2]],
    { u: undefined }, new Uint8Array([1, 2, 3])]
  const embeds = [{ image: 'x' }, { n: [1, 2.5, 'é'] }, 'text']
  const formats = [true, null, 'red', { x: [1] }]
  const nested = () => one([
    () => new Y.Array(), () => new Y.Map(), () => new Y.Text('t😀'), () => new Y.XmlFragment(),
    () => new Y.XmlElement('p'), () => new Y.XmlText('xt')
  ])()

  const typesOf = doc => {
    const types = [
      doc.getText('content'), doc.getMap('properties'), doc.getArray('list'),
      doc.getXmlFragment('default')
    ]
    for (const type of types) { // grows while it is walked
      const items = [...type._map.values()]
      for (let item = type._start; item !== null; item = item.right) items.push(item)
      for (const { deleted, content } of items) {
        if (!deleted && content instanceof Y.ContentType) types.push(content.type)
      }
    }
    return types
  }
  // An editor does not put its cursor into a surrogate pair.
  const position = (text, index) => {
    const code = text.charCodeAt(index)
    return code >= 0xdc00 && code < 0xe000 ? index - 1 : index
  }

  const edit = type => {
    if (type instanceof Y.Text) {
      const text = type.toDelta().map(op => (typeof op.insert === 'string' ? op.insert : '.')).join('')
      const start = position(text, below(text.length + 1))
      const end = position(text, Math.min(text.length, start + 1 + below(4)))
      const length = Math.max(0, end - start)
      const kind = below(6)
      if (kind < 2) type.insert(start, one(words))
      else if (kind === 2 && length) type.delete(start, length)
      else if (kind === 3 && length) type.format(start, length, { [one(['b', 'i'])]: one(formats) })
      else if (kind === 4) type.insertEmbed(start, below(4) ? one(embeds) : nested())
      else type.insert(start, one(words), { b: true })
    } else if (type instanceof Y.Map) {
      const key = one(['k', 'l', 'm😀'])
      const kind = below(7)
      if (kind === 0) type.delete(key)
      else if (kind < 3) type.set(key, nested())
      else type.set(key, one(values))
    } else {
      const start = below(type.length + 1)
      const length = Math.min(1 + below(3), type.length - start)
      if (below(4) === 0 && length) type.delete(start, length)
      else if (type instanceof Y.Array) type.insert(start, below(3) ? [one(values), 1] : [nested()])
      else if (type instanceof Y.XmlElement && below(3) === 0) type.setAttribute('id', one(words))
      else type.insert(start, [below(2) ? new Y.XmlElement('p') : new Y.XmlText('xx')])
    }
  }

  const managers = docs.map(doc => new Y.UndoManager(typesOf(doc), { captureTimeout: 0 }))
  for (let step = 0; step < steps; step++) {
    const doc = one(docs)
    const manager = managers[docs.indexOf(doc)]
    const kind = below(12)
    if (kind === 0) manager.undo()
    else if (kind === 1) manager.redo()
    else doc.transact(() => { for (let n = below(3); n >= 0; n--) edit(one(typesOf(doc))) })
    if (below(3) === 0) send()
    if (below(12) === 0 && unsent.length === 0) log.push(Y.encodeStateAsUpdate(one(docs)))
  }
  send()
  return { log: log.map(base64), states: docs.map(doc => base64(Y.encodeStateAsUpdate(doc))) }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  const answer = 'apply' in request ? apply(request.apply) : session(request.session, request.steps)
  process.stdout.write(JSON.stringify(answer) + '\n')
}
