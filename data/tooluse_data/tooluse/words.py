"""The people, places and things of the requests; companies, products and addresses are invented."""


def _names(text: str) -> tuple[str, ...]:
    """Entries separated by commas or line ends."""
    return tuple(entry.strip() for line in text.splitlines() for entry in line.split(",") if entry.strip())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


FIRST_NAMES = _names("""
Amara, Anton, Beatriz, Bilal, Carmen, Chiara, Daan, Deepa, Dmitri, Elif, Emeka, Esther, Farah, Felix,
Freya, Gabriel, Greta, Hana, Hugo, Ibrahim, Ines, Ivo, Jasper, Jelena, Jonas, Kaito, Katya, Keira, Lars,
Leila, Lucia, Magnus, Mahmoud, Marta, Mei, Milan, Nadia, Naomi, Niamh, Noor, Olek, Oskar, Paloma, Pavel,
Priya, Quentin, Rafael, Rhea, Rosa, Samir, Selma, Sunita, Tariq, Tessa, Thandi, Tomas, Ulrike, Vera,
Viktor, Wanda, Yara, Yusuf, Zoe
""")
LAST_NAMES = _names("""
Abara, Albrecht, Andrade, Bakker, Banerjee, Bergstrom, Castellano, Cho, Costa, Dahl, Delgado, Demir,
Dubois, Eriksen, Farrow, Ferreira, Fischer, Gallagher, Gupta, Hadid, Halonen, Hartley, Hoang, Ito, Jansen,
Kaplan, Keller, Kowalski, Larsen, Lindqvist, Lopez, Mbeki, Meyer, Moreau, Murphy, Nakamura, Novak, Okafor,
Oliveira, Osei, Papadakis, Pereira, Petrov, Quinn, Rahman, Rossi, Sandoval, Schulz, Silva, Sorensen,
Tanaka, Tremblay, Ueda, Vargas, Weber, Whitfield, Yilmaz, Zielinski
""")
CITIES = _names("""
Aarhus, Accra, Antwerp, Athens, Auckland, Barcelona, Basel, Belfast, Bergen, Bilbao, Bologna, Bordeaux,
Bratislava, Brno, Bruges, Budapest, Cairo, Cardiff, Chicago, Cologne, Cork, Denver, Dresden, Dublin,
Edinburgh, Florence, Gdansk, Geneva, Ghent, Gothenburg, Graz, Hamburg, Helsinki, Innsbruck, Istanbul,
Krakow, Kyoto, Leeds, Leipzig, Lille, Lisbon, Ljubljana, Lyon, Madrid, Malmo, Marseille, Milan, Montreal,
Munich, Nairobi, Naples, Nice, Nuremberg, Oslo, Palermo, Porto, Prague, Riga, Rotterdam, Salzburg,
Seattle, Seville, Stockholm, Tallinn, Toronto, Trieste, Turin, Utrecht, Valencia, Verona, Vienna, Vilnius,
Warsaw, Zagreb, Zurich
""")
OVERSEAS = _names("""
Accra, Auckland, Belfast, Cairo, Chicago, Cork, Denver, Dublin, Kyoto, Montreal, Nairobi, Palermo,
Seattle, Toronto
""")
RAIL_CITIES = tuple(city for city in CITIES if city not in OVERSEAS)  # one can go between them overland
COUNTRIES = _names("""
Argentina, Australia, Brazil, Canada, Chile, Egypt, France, Georgia, Germany, Ghana, Greece, India,
Indonesia, Ireland, Italy, Japan, Jordan, Kenya, Malaysia, Mexico, Morocco, Nepal, New Zealand, Norway,
Peru, Poland, Portugal, Singapore, South Africa, South Korea, Spain, Sweden, Thailand, Turkey, Uruguay,
Vietnam
""")
AIRPORTS = _names("""
ARN, ATH, BCN, BRU, BUD, CDG, CPH, DUB, EDI, FCO, GVA, HEL, LIS, MAD, MXP, OSL, OTP, PRG, RIX, TLL, VIE,
VNO, WAW, ZRH
""")
ADDRESSES = _names("""
14 Alder Lane, 7 Birchwood Road, 221 Canal Street, 56 Chapel Hill, 9 Cherry Close, 33 Dockside Avenue,
118 Elm Park, 5 Foundry Yard, 72 Garden Terrace, 41 Harbour View, 16 Ivy Crescent, 88 Juniper Street,
27 Kiln Row, 3 Larkspur Mews, 64 Linden Avenue, 19 Market Square, 102 Mill Road, 8 Nightingale Way,
45 Orchard Drive, 12 Poplar Court, 230 Quarry Lane, 77 Railway Terrace, 31 Rowan Street, 6 Saddlers Gate,
50 Station Road, 95 Thistle Street, 24 Upper Bridge Street, 11 Vine Cottages, 60 Willow Walk,
38 Windmill Hill
""")
RESTAURANTS = _names("""
Akari House, Bella Nonna, Blue Fennel, Casa Marisol, Copper Kettle, Danube Grill, Fig and Thyme,
Golden Lotus, Harbour Lantern, Jasmine Court, Kosmos Taverna, La Petite Oie, Little Saigon Kitchen,
Masala Junction, Mezze Corner, Noodle Foundry, Olive Branch, Pepper and Pine, Red Samovar, Saffron Room,
Smoke and Barrel, Sorrel, Tamarind Table, The Brass Whisk, The Crooked Spoon, Three Herons,
Trattoria Fontana, Villa Limone
""")
DISHES = _names("""
Pad Thai, Margherita pizza, lamb biryani, mushroom risotto, chicken katsu curry, vegetable dumplings,
beef pho, falafel plate, spinach lasagne, prawn tacos, paneer tikka, miso ramen, goat cheese salad,
fish and chips, aubergine moussaka, duck noodles, black bean burrito, pumpkin soup
""")
DISH_WISHES = _lines("""
no coriander
extra chilli
sauce on the side
no onions
gluten-free bread
no peanuts
extra lime
""")
INGREDIENTS = _names("""
aubergines, basil, black beans, broccoli, cauliflower, chickpeas, chicken thighs, coconut milk,
courgettes, eggs, feta, garlic, ginger, halloumi, kale, leeks, lentils, mushrooms, noodles, parmesan,
pears, potatoes, pumpkin, red peppers, rice, salmon, spinach, sweetcorn, tofu, tomatoes, walnuts, yoghurt
""")
RECIPES = _lines("""
Grandma's Barley Soup
Lemon Polenta Cake
Weeknight Chana Masala
Sunday Pot Roast
Green Shakshuka
Cardamom Buns
Smoky Bean Chilli
Apple and Rye Crumble
Leek and Potato Gratin
Peanut Satay Noodles
Saffron Fish Stew
Maple Granola
""")
GROCERY_SHOPS = _names("""
Corner Basket, FreshRow, Green Crate, Larder Lane, Marlow Market, Nettle and Oat, Pantry Point
""")
MEETING_TITLES = _lines("""
Budget review
Design critique
Quarterly planning
Retrospective
Kick-off with Halden
Onboarding session
Roadmap check-in
Supplier negotiation
Security briefing
Hiring sync
Launch rehearsal
Customer feedback round
Risk workshop
Data quality review
Press preparation
Board dry run
Accessibility walkthrough
Pricing discussion
""")
REMINDERS = _lines("""
Renew the parking permit
Water the tomato seedlings
Call the landlord about the boiler
Collect the dry cleaning
Return the library books
Pay the window cleaner
Check the smoke alarms
Send the signed contract
Buy a card for Dad
Take the bins out
Feed the neighbours' cat
Book the car inspection
Pick up the parcel from reception
Renew the travel insurance
Defrost the freezer
Order new contact lenses
Charge the camera batteries
Submit the tax form
""")
BUILDINGS = _names("""
Atrium House, Beacon Tower, Clarendon Block, East Wing, Foundry Building, Maple Hall, North Annex
""")
PROJECTS = _names("""
Aurora, Basalt, Cinnabar, Driftwood, Everest, Falcon, Glasshouse, Heron, Indigo, Juniper, Kestrel,
Lighthouse, Meridian, Nimbus, Obsidian, Palisade
""")
WORK_ITEMS = _lines("""
writing the test plan
reviewing pull requests
client workshop
updating the handbook
fixing the import job
drafting the proposal
interviewing users
preparing the slides
""")
ROLES = _lines("""
data engineer
product designer
site manager
paralegal
nurse coordinator
backend developer
accounts assistant
research scientist
""")
TEXTS = _lines("""
I'm running ten minutes late
The keys are under the blue flowerpot
Dinner is at ours on Sunday
Happy birthday, have a wonderful day
The plumber has just left
Can you pick up some milk on the way?
I found your umbrella
The meeting moved to the third floor
We landed safely
Don't forget the concert tickets
I left the charger on your desk
The cake is in the fridge
Good luck with the exam
Thanks again for your help yesterday
The wifi is working again
I'll bring the folding chairs
The dentist called back
Your parcel is with the neighbours
Let's go running on Saturday
The cat has been fed
""")
ANNOUNCEMENTS = _lines("""
The build is green again
Lunch talk starts at noon in the atrium
Please update your timesheets before leaving
The coffee machine has been repaired
Version two is out, release notes are in the wiki
The office closes early this Friday
Welcome our new colleague to the team
The staging server is down for maintenance
Please don't merge until the release is tagged
Parking level B is closed this week
The survey results are in
Fire drill this afternoon, please stay calm
""")
EMAIL_SUBJECTS = _lines("""
Contract draft
Minutes of the meeting
Updated floor plan
Question about the delivery
Photos from the workshop
Travel arrangements
Feedback on the prototype
Missing signature
New opening hours
Thank you
Revised quote
Next steps
""")
EMAIL_BODIES = _lines("""
Please find my comments in the shared folder.
Could you confirm by Thursday?
I have added the figures you asked for.
Let me know if anything is unclear.
We are happy to accept your offer.
The signed copy is on its way by post.
I suggest that we move ahead as planned.
Please send me the missing pages.
Everything went well and the client is pleased.
I will be out of the office next week.
""")
CHANNELS = _names("""
#announcements, #backend, #cooking-club, #customer-care, #design, #events, #facilities, #finance,
#general, #hiring, #incidents, #marketing, #newcomers, #random, #releases, #research, #sales-north,
#sustainability
""")
EMAIL_HOSTS = _names("""
alderworks.example, brightmoor.example, cobaltbay.example, fernhill.example, harborline.example,
ostrava.example, pinecrest.example, quillmark.example, redwoodlab.example, sunfield.example
""")
POSTCARD_TEXTS = _lines("""
The sea is warm and the food is even better
Wish you were here
We climbed the lighthouse this morning
Thinking of you from the mountains
Greetings from the night train
The children send you a big hug
""")
COMPANIES = _names("""
Alpine Energy, Amberley Water, Brightline Telecom, Calder Gas, Civic Power, Dunmore Insurance,
Eastgate Housing, Fernhill Dental, Granite Fibre, Harbour Waste Services, Kingsley Broadband,
Lakeside Heating, Meadow Mobile, Northwind Electric, Oakham Council, Solway Security
""")
CLIENTS = _names("""
Arden and Sons, Bluegate Studio, Cinder Coffee Roasters, Delta Marine, Elmwood School, Fjord Film,
Granary Books, Hollis Architects, Iris Florists, Juniper Hotels, Kite Robotics, Lantern Theatre
""")
ACCOUNTS = _lines("""
household
savings
holiday
business
joint
rent
emergency
""")
REFERENCES = _lines("""
Rent for the flat
Concert tickets
Dentist bill
Shared groceries
Birthday present
Deposit for the van
Piano lessons
Club membership
""")
EXPENSES = _lines("""
Weekend cabin
Pizza night
Taxi from the airport
Birthday cake
Museum tickets
Boat rental
Cleaning supplies
Camping gas
Leaving present
Ski passes
""")
INVOICE_LINES = _lines("""
Logo design
Site survey
Window repair
Translation, per page
Stage lighting
Photo shoot
Garden maintenance
Furniture assembly
""")
ROOMS = _names("""
attic, basement, bathroom, bedroom, conservatory, dining room, guest room, hallway, kitchen, living room,
nursery, playroom, study, utility room
""")
GARDEN_ZONES = _names("""
front lawn, back lawn, herb bed, rose bed, vegetable patch, greenhouse, hedge, orchard
""")
DOORS = _names("front door, back door, garage door, cellar door, garden gate, side door")
FOODS = _names("""
porridge, scrambled eggs, brown rice, grilled chicken, lentil soup, Greek yoghurt, mixed berries,
avocado toast, pasta with pesto, steamed broccoli, cottage cheese, baked potato, salmon fillet,
fruit salad, hummus, roasted almonds
""")
MEDICINES = _names("""
amoxicillin, atorvastatin, cetirizine, ibuprofen, levothyroxine, lisinopril, loratadine, metformin,
omeprazole, paracetamol, ramipril, sertraline
""")
PHARMACIES = _names("""
Abbey Pharmacy, Clocktower Chemist, Greenleaf Pharmacy, Riverside Pharmacy, Station Pharmacy
""")
COMPLAINTS = _lines("""
persistent cough
yearly check-up
sore knee
itchy rash
trouble sleeping
follow-up on blood test
recurring headaches
back pain
""")
PRODUCT_SEARCHES = _lines("""
wireless headphones
standing desk
waterproof hiking boots
cordless drill
cast iron pan
ergonomic office chair
folding bike
rain jacket
noise machine
espresso grinder
bread knife
camping stove
board game for four
reading lamp
yoga mat
bluetooth speaker
""")
GIFT_MESSAGES = _lines("""
Happy birthday from all of us
Enjoy your new home
Congratulations on the new job
With love from Aunt Vera
Get well soon
Thank you for everything
""")
WISHES = _names("""
ceramic teapot, hand blender, wool blanket, picnic basket, garden hose, star map, chess set, film camera,
sketchbook set, bird feeder, pizza stone, travel pillow
""")
WISH_LISTS = _lines("""
New flat
Wedding
Ana turns 30
Baby room
Workshop
Winter holidays
""")
HARBOURS = _names("""
Aberdeen, Bremerhaven, Brest, Cuxhaven, Dover, Galway, Halifax, Harwich, Holyhead, Le Havre, Penzance,
Plymouth, Port Isaac, Saint-Malo, Santander, Tromso, Whitby
""")
REGIONS = _names("""
Black Forest, Brecon Beacons, Cairngorms, Cinque Terre, Dolomites, Harz, Jura, Lake District,
Peak District, Picos de Europa, Pyrenees, Snowdonia, Tatra Mountains, Vosges
""")
SPECIES = _names("""
barn owl, common seal, fallow deer, fire salamander, great crested grebe, grey heron, hedgehog,
kingfisher, lynx, otter, peregrine falcon, red fox, red squirrel, roe deer, white stork, wild boar
""")
CAMPSITES = _names("""
Birch Bay, Cliff Meadow, Duck Pond, Heather Hollow, Lakeside Pines, Otter Creek, Sandy Spit
""")
SONGS = _names("""
Paper Lanterns, Slow River, Midnight Orchard, Glass Mountains, Northern Train, Salt and Honey,
Broken Compass, Velvet Sunday, Counting Swallows, Harbour Lights, Winter Coat, Second Moon,
Dust on the Radio, Copper Sky, Postcards Home, Tall Grass
""")
ARTISTS = _names("""
Ada Fenwick, Brass Meridian, Coastal Choir, Delia Moon, Ember and Ash, Foxglove Trio, Hollow Pines,
Inga Solberg, Kilo Tango, Mara Vance, Night Ferry, Osman Reyes, Quiet Parade, The Paper Boats,
Velvet Antlers, Yellow Atlas
""")
PLAYLISTS = _lines("""
Rainy Monday
Kitchen dancing
Deep focus
Long drive north
Slow Sunday
Run the hills
Garden party
First snow
Late shift
Morning stretch
""")
FILMS = _names("""
A Cup of Stars, Beneath the Viaduct, Captain Marrow, Dogs of Winter, Eleven Bridges,
Fable of the Salt King, Ghost Orchard, Hotel Meridian, Ironwood, Last Boat to Skye, Moth and Flame,
The Cartographer's Daughter, The Quiet Mile, Under Blue Lamps
""")
CINEMAS = _names("""
Astoria, Paradox, Electric Palace, Filmhouse, Lumen, Odyssey, Regal, Roxy, Scala
""")
CHANNELS_TV = _names("""
Arc Vision, Canal Nova, City TV, Delta Sport, History Plus, Nature Channel, Nordic Two
""")
PROGRAMMES = _names("""
Baking Under Pressure, Deep Ocean, Harbour Patrol, Night Detective, Quiz Arena, Secrets of the Steppe,
The Antique Van, The Friday Debate, Tour of Flanders, Wild Alps
""")
LIBRARIES = _names("Canal Street, Central, Eastfield, Hillside, Old Town, Riverside, University")
PHRASES = _lines("""
Where is the nearest pharmacy?
The train has been cancelled.
We would like to order now.
My luggage has not arrived.
Is breakfast included?
I am allergic to nuts.
Could you speak more slowly?
The museum is closed on Mondays.
Thank you for your hospitality.
I have lost my passport.
What time does the market open?
Please keep this place tidy.
The lift is out of order.
Do you have a room with a view?
How much does this cost?
Turn left at the bridge.
""")
IMAGE_FILES = _names("""
banner.png, beach.jpg, cover_draft.png, family_2019.jpg, floorplan.png, harbour.jpg, headshot.jpg,
logo_dark.png, menu.png, poster_v3.png, sunset.jpg, team_photo.jpg, thumbnail.png, workshop.jpg
""")
PDF_FILES = _names("""
annex_a.pdf, annex_b.pdf, appendix.pdf, budget.pdf, certificate.pdf, contract.pdf, cover_letter.pdf,
cv.pdf, deed.pdf, floorplans.pdf, invoice_may.pdf, invoice_june.pdf, minutes.pdf, offer.pdf,
references.pdf, scan_01.pdf, scan_02.pdf
""")
PDF_OUTPUTS = _names("""
all_invoices.pdf, application.pdf, bundle.pdf, complete_file.pdf, dossier.pdf, merged.pdf
""")
AUDIO_FILES = _names("""
call_0412.mp3, interview_osei.wav, lecture_07.mp3, memo.m4a, panel_day2.wav, voicemail.mp3
""")
REPOSITORIES = _names("""
atlas-web, billing-core, chart-kit, docs-site, edge-proxy, form-builder, geo-index, mail-relay,
mobile-app, pdf-export, scheduler, search-api
""")
ISSUE_TITLES = _lines("""
Login fails after password reset
Dark mode hides the save button
Export ignores the selected month
Upload stalls at 99 percent
Wrong time zone in the calendar feed
Search returns archived entries
Broken link in the footer
Crash when the list is empty
Duplicate emails on signup
Slow query on the orders page
Typo on the pricing page
Missing alt text for charts
""")
LABELS = _names("""
accessibility, backend, bug, documentation, frontend, good-first-issue, performance, regression, security
""")
SERVICES = _names("""
auth, billing, catalog, checkout, gateway, image-proxy, inventory, mailer, notifications, payments,
recommender, search, sessions, thumbnailer
""")
DATABASES = _names("""
analytics, audit_log, crm, events, inventory_main, ledger, orders, users_eu, users_us, warehouse_dw
""")
HOSTS = _names("""
amber-01, amber-02, basil-03, cedar-01, cedar-04, dune-02, flint-07, grove-05, maple-11, onyx-06
""")
NETWORKS = _names("""
10.0.4.0/24, 10.1.0.0/16, 10.20.8.0/22, 172.16.5.0/24, 172.20.0.0/16, 192.168.7.0/24, 192.168.40.0/24
""")
FLAGS = _names("""
beta_checkout, compact_sidebar, dark_header, fast_search, guest_reviews, new_onboarding, smart_reply
""")
SITES = _names("""
Antwerp North, Brno Hub, Gdansk Port, Leeds Depot, Lyon South, Malmo Yard, Turin Central, Vienna East
""")
INSTRUMENTS = _names("""
confocal microscope, flow cytometer, gas chromatograph, mass spectrometer, plate reader, qPCR cycler,
spectrophotometer, ultracentrifuge
""")
REAGENTS = _names("""
agarose, ethanol, glycerol, imidazole, lysozyme, methanol, proteinase K, sodium azide, Tris base, trypsin
""")
BOOK_TITLES = _lines("""
The Salt Road
A Theory of Rain
Small Engines
The Beekeeper's Ledger
Cities of Chalk
Night Swimming
The Orchard Code
Letters to a Lighthouse
""")
