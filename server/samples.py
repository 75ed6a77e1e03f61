"""The memories that `memo demo` makes."""

from typing import Any, NamedTuple


class Sample(NamedTuple):
    """A memory of the demo account. The first line of `text` is its title; `thread` are messages
    in it, the first one written first."""

    text: str
    tags: tuple[str, ...]
    favorite: bool = False
    description: str | None = None
    data: dict[str, Any] = {}
    thread: tuple[str, ...] = ()


# What a tag says of the category, by the names that a new account's have.
CATEGORIES = {
    "work": "Work",
    "family": "Family",
    "learning": "Learning",
    "travel": "Travel",
    "health": "Health",
    "finance": "Finance",
    "ideas": "Creative",
    "home": "Personal",
    "book": "Personal",
}

SAMPLES = (
    Sample(
        """\
Welcome to your memories
This is a memory: a title, tags, and a text that you and your other devices write in together.

Try this:

- Open this page in a second window and type in both.
- Turn off the network, write something, and turn it on again.
- Search for *lisbon*, or for the tag `recipe`.

Nothing you write here is lost when a connection is: it is kept in this browser until the server \
has it safely on disk.""",
        ("start",),
        favorite=True,
        description="What to try first",
    ),
    Sample(
        """\
Grandma's lentil soup
From the card in her handwriting, with the amounts she never wrote down.

- 250 g brown lentils, rinsed
- 2 carrots, 1 leek, a piece of celeriac
- 1 onion, 2 bay leaves
- 1 tbsp mustard, 2 tbsp red wine vinegar

Sweat the vegetables, add the lentils, the bay leaves and 1.2 l of stock. Forty minutes. The \
vinegar and the mustard only at the end, off the heat. It is better on the second day.""",
        ("recipe", "family"),
        favorite=True,
    ),
    Sample(
        """\
Lisbon, three days in October
**Friday** Tram 28 is a queue with a view; walk up to Graça instead, the light is best at six. \
Dinner at the small place behind the church, grilled sardines on paper.

**Saturday** The tile museum, two hours, almost empty. Pastéis in Belém: skip the line, sit down \
inside. Ferry to Cacilhas for the sunset, 1.40 each.

**Sunday** Flea market, bought the blue jug. Airport metro takes 25 minutes, not 40.

Next time: a day in Sintra, and shoes with a sole that grips.""",
        ("travel", "portugal"),
        favorite=True,
        description="With Jo, the long weekend",
        thread=(
            "Jo found the name: *Ponto Final*, on the other side. Book ahead.",
            "The jug survived the flight.",
        ),
    ),
    Sample(
        """\
Product weekly, 12 May
Present: Priya, Tom, Hanna, me

- The import is slow for accounts with many attachments. Tom measures before anyone optimises.
- Onboarding: three of five testers did not find the search. Hanna tries it in the header.
- Priya: pricing page goes out on Thursday, translations follow.

**Mine:** write down how archiving should work, by Wednesday.""",
        ("work", "meeting"),
        description="Search in the header, pricing page on Thursday",
    ),
    Sample(
        """\
Product weekly, 19 May
Present: Priya, Tom, me

- Import: nine tenths of the time was one missing index. Now 4 s instead of 70.
- Search in the header: five of five found it.
- Decided: archived things stay searchable, but are left out of lists.

**Mine:** ask support for the ten questions they answer most.""",
        ("work", "meeting"),
        thread=(
            "Support sent their list: seven of the ten are about sharing.",
            "So sharing comes first in the help. Told Hanna.",
        ),
    ),
    Sample(
        """\
The Left Hand of Darkness
Ursula K. Le Guin, 1969. Read in March, on the train mostly.

The crossing of the ice is the book; everything before it teaches you to see what happens there. \
I had remembered it as a novel of ideas and it is one of two people in a tent.

> It is good to have an end to journey toward; but it is the journey that matters, in the end.""",
        ("book",),
        favorite=True,
        data={"rating": 5, "author": "Ursula K. Le Guin"},
    ),
    Sample(
        """\
How Buildings Learn
Stewart Brand. Lent to Tom in June, ask for it back.

Six layers that age at six speeds: site, structure, skin, services, space plan, stuff. Trouble is \
where a slow layer is glued to a quick one. Applies to software without changing a word.""",
        ("book", "ideas"),
        data={"rating": 4, "author": "Stewart Brand", "lentTo": "Tom"},
    ),
    Sample(
        """\
Groceries
- [ ] oat milk
- [ ] lemons, 4
- [x] coffee, the dark one
- [ ] parsley
- [ ] dishwasher salt
- [ ] something for Saturday""",
        ("list",),
    ),
    Sample(
        """\
Packing list, cabin
Sheets and towels are there. Firewood too, matches are not.

- [ ] sleeping bag liner
- [ ] head torch and batteries
- [ ] rain trousers
- [ ] the good knife
- [ ] cards
- [ ] coffee filters (forgotten twice)""",
        ("list", "travel"),
    ),
    Sample(
        """\
Bread that works on weekdays
Evening: 500 g flour, 380 g water, 10 g salt, 2 g dry yeast. Stir, cover, leave on the counter.

Morning: fold four times, into a lined pot, 30 minutes while the oven heats to 240 °C. Lid on 25 \
minutes, lid off 15. Wait until it is cold. (Nobody ever waits.)""",
        ("recipe",),
        favorite=True,
    ),
    Sample(
        """\
Presents, ideas
- **Mum** the bird feeder with the camera; a day at the thermal baths
- **Jo** a bookbinding course, starts in November
- **Ali** new strings, size 10
- **Dad** no more socks""",
        ("list", "family"),
    ),
    Sample(
        """\
Bike: what was done when
- 2026-04-11 new chain, 11-speed, at 8,400 km
- 2026-02-02 brake pads front
- 2025-09-20 rear wheel trued, two spokes

Tyre pressure 4.5 bar front, 5 rear. Seat height 74 cm from the bottom bracket.""",
        ("bike", "home"),
        data={"kilometres": 8400},
    ),
    Sample(
        """\
Call with the landlord
The leak comes from the flat above, their plumber is there on the 14th between 8 and 11. He pays \
for the ceiling, wants two photos. Ask for it in writing. **Reference 2026-0317.**""",
        ("home", "phone"),
        description="Plumber on the 14th, 8 to 11",
    ),
    Sample(
        """\
A sentence from the radio
"You don't have to finish the thought to be changed by it." Somebody on the late programme, a \
poet I think. Written down at a red light.""",
        ("ideas", "quote"),
    ),
    Sample(
        """\
Idea: a shelf for unfinished things
An app keeps what is done and what is to do. Nothing keeps what I have deliberately put down: the \
half-read book, the scarf, the language course. A shelf, where leaving is not failing, and where \
each thing says what the next ten minutes would be.""",
        ("ideas",),
        favorite=True,
    ),
    Sample(
        """\
Garden, what went where
South bed: tomatoes (two Roma, one yellow pear), basil between them. North bed: chard, beans up \
the wire. The courgette has taken over, **one** plant is enough.

Sown on 3 May, first beans on 12 July. Snails hate the copper tape and love the dahlias.""",
        ("garden", "home"),
    ),
    Sample(
        """\
Portuguese, words that stick
- *saudade* everyone knows; *desenrascar* is the one to use: to get out of a fix with what is there
- *fixe* good, cool
- *bica* a small coffee, *galão* a large one with milk
- *pois* yes, well, indeed, I see, go on""",
        ("learning", "portugal"),
    ),
    Sample(
        """\
Statistics course, week 4
A confidence interval is a property of the method, not of the one interval: 95 of 100 made this \
way hold the value. That the value is in *this* one with 95 % is a sentence about belief, and \
needs a prior.

Exercise 4.7 still open. Ask in the forum about the bootstrap with dependent samples.""",
        ("learning", "statistics"),
    ),
    Sample(
        """\
Doctor, annual check
All values fine, vitamin D low as every spring: 1000 units a day until October. Blood pressure \
122 over 78. Next one in May, tetanus then too (last in 2017).""",
        ("health",),
        data={"bloodPressure": "122/78"},
    ),
    Sample(
        """\
Running
| day | km | how |
|---|---|---|
| Mon | 5.2 | slow, cold |
| Thu | 6.0 | with Ali, talked all the way |
| Sun | 9.1 | the long one, along the canal |

The left shoe is through at the toe.""",
        ("health", "running"),
    ),
    Sample(
        """\
Interview notes: night-shift nurse
For the feature about memory at work. Her words, shortened:

"We hand over forty patients in twenty minutes. What saves you is not the form, it is that \
somebody says: watch bed nine. The form has no field for *watch bed nine*."

Ask her about the whiteboard. Photo permission: yes, not the face.""",
        ("work", "interview"),
        favorite=True,
    ),
    Sample(
        """\
Things the children said
- "Is yesterday still somewhere?" (Mila, 4)
- "I'm not tired, my eyes are only practising." (Mila, 4)
- "If the sea has a floor, who sweeps it?" (Ben, 6)""",
        ("family", "quote"),
        favorite=True,
    ),
    Sample(
        """\
Flat-warming: who brings what
- [x] Priya: salad, glasses
- [x] Tom: the speaker
- [ ] Jo: cake
- [ ] me: soup, see *Grandma's lentil soup*, twice the amount

Tell the neighbours. Move the bikes out of the hall.""",
        ("list", "home"),
        thread=(
            "Priya asks for the start: seven.",
            "Jo's cake has nuts, tell Tom.",
        ),
    ),
    Sample(
        """\
Tax papers 2025
Sent on 28 February. Home office 94 days, the donation receipts are in the blue folder, the \
certificate of the bank came late and went in afterwards.

Refund arrived on 6 May. Keep until 2035.""",
        ("finance",),
    ),
    Sample(
        """\
Old flat: readings when we left
Electricity 48,213 kWh, gas 9,077 m³, water 311 m³, on 30 September 2024, with the caretaker. \
Deposit came back in full in December.""",
        ("home", "finance"),
    ),
)
