"""The words LabWorld's names are made of.

Each word is one token of the lab model's vocabulary, so that a name costs the model two or three
tokens. The combinations are invented; the closed vocabularies (languages, occupations, …) are real.
"""

from collections.abc import Iterator
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES: Final = _words("""
Dana Marek Ingrid Tomas Leila Oskar Priya Henrik Amara Jonas Mirela Kaito Elena Ruben Sofia Anders
Farah Milo Greta Hugo Nadia Pavel Yuki Carla Emeka Astrid Bruno Celia Dmitri Esther Felix Gloria
Hamid Irene Julian Katya Lorenz Maeve Nikolai Olivia Petra Quentin Rosa Stefan Tamara Ulrich Vera
Wendell Ximena Yusuf Zelda Adrian Bianca Cedric Daphne Elias Fiona Gareth Helga Isaac Joanna Kiran
Lucia Magnus Noor Owen Paloma Rafael Selma Theo Uma Viktor Willa Xavier Yara Zoltan Agnes Basil
Clara Darius Edith Fabian Gemma Harriet Ivan Jasmine Konrad Lydia Marcel Nina Otto Pilar Rashid
Signe Tobias Ursula Vincent Wanda Yann Zora Alma Benedikt Chiara Desmond Eloise Florian Giulia
Hector Ines Jakob Kamala Leonid Mina Nestor Odette Piotr Ramona Silas Thea Umberto Valeria Walter
Yelena Zane Aisha Boris Camille Dorian Elsa Franz Gwen Hassan Isolde Jamal Kerstin Lionel Margit
Nuria Orla Percy Renata Soren Tilda Urban Violet Werner Yvette Zeno Alina Bertil Corinne Duncan
Estelle Ferenc Giselle Holger Imani Joachim Keiko Lars Monika Nolan Oriana Pascal Regina Sanjay
Tessa Uwe Valentin Wilma Yosef Zara Andre Birgit Caspar Delia Emil Frida Gustav Hilda Igor Jorge
Klara Linus Matilda
""")

SURNAMES: Final = _words("""
Lee Novak Lindqvist Okafor Haddad Marchetti Tanaka Brandt Kowalski Ferreira Osborne Petrov
Nakamura Delgado Eriksen Fontaine Gupta Hartmann Ivanova Jansen Keller Larsson Moreau Nguyen Olsen
Pereira Quinn Rossi Schneider Takeda Ueda Varga Whitfield Yamamoto Zimmer Abbott Barros Castillo
Dalton Engel Farouk Galloway Hoffman Ibarra Jovanovic Kimura Lombardi Mbeki Norberg Ochoa Pavlov
Ramsey Santoro Thorne Ulmer Vasquez Wexler Yilmaz Zander Albrecht Bianchi Calloway Drummond
Escobar Falk Grimaldi Holloway Isaksen Jurado Kessler Lindholm Medina Nilsson Orlov Prescott
Rahman Silva Tremblay Underwood Vogel Winslow Yates Zapata Ashby Becker Corbett Dubois Ekström
Fischer Garland Hawthorne Iqbal Jaeger Kaplan Lachance Mercer Nystrom Ortega Pacheco Ritter
Sandoval Tolland Urbina Valdez Wagner Yoder Ziegler Aldridge Bellamy Conrad Davila Ellison Forsyth
Greer Huang Ilves Jarvis Kovacs Lockhart Montoya Nadeau Oakley Pemberton Rocha Stroud Thackeray
Umarov Volkov Warner Yeager Zhou Amundsen Bergman Cardoso Dixon Emerson Frost Gallego Haugen
Irving Jimenez Karlsson Langley Molina Nash Osman Peralta Reyes Sorensen Tavares Usman Vance
Weaver Yang Zuniga Arslan Blackwood Crane Dorsey Everett Fowler Gibbons Hayashi Ingram Jennings
Kramer Lozano Maddox Noble Odell Pritchard Roth Saito Talbot Unger Villa Whitaker Yoon Zeller
Archer Bowman Cortez Devlin Espinoza Finch Graves Hobbs Ishida Joyner Knox Lund Merritt Norwood
Ogden Pierce Rowland Salazar Temple Uribe Vaughn Wolfe York Zamora
""")

COMPANY_WORDS: Final = _words("""
Northwind Bluepeak Redwood Silverline Ironbridge Lumina Vertexa Solaria Quantica Brightwell
Clearwater Stonegate Evergreen Highmark Oakhurst Polaris Nimbus Cobalt Meridian Harborview
Starling Crestline Windmere Foxglove Granite Helix Junction Kingfisher Lakeshore Monarch
Nightingale Orchard Pinnacle Quarry Ridgeway Summit Tidewater Unity Vanguard Westbrook Zenith
Amberley Beacon Cascade Driftwood Emberly Fairmont Goldcrest Hearthstone Indigo Jadestone Keystone
Lanternix Mosaic Novaterra Opaline Pathfinder Quillon Riverstone Sandpiper Torchlight Umbra
Verdant Wavecrest Xenon Yellowtail Zephyrus Arcadia Birchwood Copperfield Dovetail Eastgate
Firefly Glasswing Hollybrook Inkwell Juniper Kestrel Larkspur Moonrise Nettle Overland Palisade
Quickstep Rosewater Sunfield Thistle Uplands Vellum Whitecap Ashgrove Brookline Cinder Duskwood
Elmhurst Flintlock Greyfield Halcyon Ivory Kelpwood
""")

COMPANY_KINDS: Final = _words("""
Systems Industries Labs Holdings Robotics Energy Motors Foods Logistics Pharma Airlines Bank Media
Textiles Steel Software Partners Works
""")

CITY_STEMS: Final = _words("""
Ardenholm Belmora Carvale Dunwick Eastmere Fallbrook Glenmoor Harrowgate Isleby Jasperton Kirkwall
Lowenbach Marstrand Norvale Oakhaven Pellworth Quarrington Ravensford Stellamar Thornbury Ulverton
Vandermeer Westhaven Yarrowby Zellingen Alderton Brackwater Cressida Dovermoor Elderpoint Ferndale
Grauberg Hollowmere Invermoor Jorvik Kaldheim Lindenau Mirandola Novigrad Osterby Pinehurst
Quimbaya Rosenfeld Salvatierra Tarrington Umberlee Valmonte Wintermoor Yorvale Zaragosa Amberford
Brindisol Calderon Drayton Esperanza Fairhaven Gildford Hartlepool Ironvale Juneport Kingsmere
Larkfield Montclair Nethermoor Osmere Queensmere Ridgefield Sundborn Tallgrass Upland Veldhaven
Whitestone Yellowpine Zandvoort Ashmere Birkdale Coldwater Dunmore Evermoor Foxhollow Greenwick
Highcliff Ivybridge Jadewater Kestermoor Lochmere Millbrook Newhaven Oldcastle Pembrey Rockhaven
Silverton Tidemark Underhill Vinterby Wolfsberg Ashkelon Bregenz Castrova Delmara Elsinore
Fjordane Gransted Halvorsen Istria Jelgava Karlstein Lissabon Morwenna Nordhavn Olvera Pontevale
Aldenburg Brixton Castelmar Dornbirn Eberswald Falkenau Gamleby Hallstatt Ilmenau Jasmund Kronstad
Lidkoping Mosjoen Narvika Oppdal Pirnau Quedlin Rjukan Sigtuna Trosa Umeborg Vadsten Wolgast
Ynglin Zwettle Askersund Bodoe Cuxmar Drammen Ekenas Flensmark Grimstad Hamina Isafjord Kalmora
Lyngby Mariehamn Notodden Odenwald Porvoo Rauma Skagen Tonsberg Uusikau Visborg Rivalta Solvang
Trevanion Ursbach Vesterby Wexmouth Ystadt Zermatten Arosa Bellinga Corvina Drosten Ebberg Fanoe
Gorizia Hvitsand Imatra Juvela Korsholm Lauban Malmora Nyborg Orsova Prestwick Rundale Sandvika
Tornio Ulefoss Varberg Wismara
""")

CITY_PREFIXES: Final = _words("New Old Upper Lower Great Little")

COUNTRY_STEMS: Final = _words("""
Valdoria Kestria Mornland Ostavia Pelonia Quorland Ravenia Solmark Tarvania Ubrea Veskovia
Wendland Yandoria Zamaria Altania Borduria Caldonia Drevania Estmark Falgaria Gravonia Hestia
Illyria Jorland Karthia Lumeria Mirovia Norlandia Orvania Pradonia Rosmark Sylvania Tregonia
Umbarland Vorlandia Westria Zubrania Ardania Belvaria Corvania Delmark Elbonia Fenmark Galdovia
Halvania Istland Jurania Kolvaria Lorvania Maldoria Nervania Olmark Pavonia Rethmark Skaldia
Tolvaria
""")

COUNTRY_PREFIXES: Final = _words("North South East West Upper Greater")

UNIVERSITY_STEMS: Final = _words("""
Ashdown Balfour Carrick Denholm Eastwick Fairfax Gresham Hartwell Ingleby Jessop Kenwood Lathrop
Mandeville Northgate Oswald Penrose Queensbury Radnor Selwood Tarleton Uxbridge Venturi Wakefield
Yarborough Zimmerman Aldous Brampton Colville Dunstan Ellsworth Fenwick Grantham Hadleigh Ilford
Kingsley Lambton Marlowe Newbold Ormond Pelham Rutherford Aberdale Blythe Cranmer Dalrymple
Erskine Faraday Goddard Harcourt Inverness Jowett Kelvin Lancaster Middlemarch Newton Oakeshott
Percival Ravenscroft Sedgwick Trelawny Windham Stanhope Thurlow Upton Vickers Wetherby
""")

UNIVERSITY_KINDS: Final = _words("University College Institute Academy Polytechnic Conservatory")

BOOK_ADJECTIVES: Final = _words("""
Silent Crimson Forgotten Hidden Broken Golden Distant Frozen Burning Hollow Secret Endless
Wandering Quiet Scarlet Midnight Velvet Bitter Gentle Restless Sunken Twisted Weeping Painted
Paper Glass Iron Lonely Wild Ancient Borrowed Careless Drowned Electric Faithful Gilded Honest
Idle Jealous Kind
""")

BOOK_NOUNS: Final = _words("""
Garden River Lantern Harbor Mirror Orchid Winter Castle Letter Shadow Bridge Clock Forest Island
Key Library Mountain Ocean Piano Road Sparrow Tower Valley Window Voyage Candle Desert Feather
Gate Horizon Journal Kingdom Lighthouse Meadow Needle Oracle Promise Quilt Raven Storm Theater
Umbrella Violin Whisper Carnival Duchess Fisherman Gardener Hunter Stranger
""")

PRODUCT_WORDS: Final = _words("""
Aero Breva Civo Dexa Elvo Flexa Glide Hydra Ionix Jetta Kivo Lyra Mavo Nexo Optima Pulsar Quix
Rivo Sonix Tempo Ultra Vexa Wavo Xira Yoga Zing Alto Bolt Cyra Drift Echo Fuso Gyro Halo Indra
Joule Kyra Lumo Moto Nova Orbi Pivo Qubit Raptor Spark Terra Unix Volta Wizz Zira
""")

PRODUCT_KINDS: Final = _words("""
Phone Watch Camera Scooter Kettle Tablet Drone Speaker Printer Lamp Blender Router Bike Oven Radio
Van
""")

LANGUAGES: Final = _words("""
English French German Spanish Italian Portuguese Dutch Swedish Danish Finnish Polish Czech
Hungarian Romanian Greek Turkish Arabic Hebrew Persian Hindi Bengali Japanese Korean Vietnamese
Thai Swahili Basque Welsh
""")

OCCUPATIONS: Final = _words("""
architect painter surgeon lawyer journalist carpenter pilot chef dentist librarian photographer
nurse plumber translator economist geologist novelist sculptor tailor violinist welder zoologist
accountant baker botanist chemist dancer electrician farmer goldsmith historian judge linguist
midwife notary optician pharmacist sailor teacher veterinarian
""")

FIELDS: Final = _words("""
astronomy biochemistry cryptography demography ecology forensics genetics hydrology immunology
jurisprudence kinetics linguistics mathematics neurology oceanography philosophy robotics
seismology toxicology virology acoustics botany climatology dermatology entomology folklore
geometry horticulture informatics logic meteorology numismatics optics psychology statistics
theology
""")

INDUSTRIES: Final = _words("""
agriculture aviation banking brewing cement chemicals construction cosmetics education electronics
fashion finance fishing forestry furniture gaming healthcare hospitality insurance mining
packaging petroleum publishing railways retail shipping telecommunications tourism
""")

INSTRUMENTS: Final = _words("""
accordion bagpipes banjo bassoon cello clarinet cornet drums dulcimer flute guitar harmonica harp
harpsichord lute lyre mandolin marimba oboe organ piano saxophone sitar trombone trumpet tuba
ukulele viola violin xylophone
""")

CURRENCIES: Final = _words("""
ducat florin groat guilder thaler crown mark shilling talent denar kuna lira drachma rupee peso real
dinar zloty forint koruna
""")

GENRES: Final = _words("""
satire biography fantasy horror romance thriller tragedy comedy fable memoir western poetry travel
crime adventure drama
""")

NICKNAMES: Final = _words("""
Ace Bandit Bear Bingo Blaze Boots Breezy Bubbles Buddy Buster Champ Chip Coach Cricket Dash Doc Duke
Dusty Fancy Flash Frosty Gadget Ghost Goose Hawk Jazz Jumbo Lefty Lucky Maverick Moose Nugget Patch
Peaches Pepper Pockets Professor Ranger Red Rocket Rusty Scooter Shadow Skipper Slim Smiley Sparky
Spider Sunny Tank Tiger Tinker Turbo Whiskers Ziggy
""")

SYLLABLES: Final = _words("""
ba be bri co da dor el fa gi gra ha il jo ka ke li lo ma mi na ne no o pa pe qua ra ri ro sa se
shi so ta te ti tor u va ve vi wa xe ya yo za ze zi lan mer nor ven dal kor fin tas ler mon ston
""")
"""For words outside the lexicon, so that the model also learns to copy what it never saw."""


def all_words() -> Iterator[str]:
    """Yield every word of the lexicon; one that is in two groups comes twice."""
    for name, words in sorted(globals().items()):
        if name.isupper() and name != "SYLLABLES":
            yield from words
