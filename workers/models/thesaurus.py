"""Words and short phrases that stand for each other in instructions, and phrases that may be added to one: own work, English.

`GROUPS` are groups of alternatives: `;` stands between groups, `|` between the members of one; a word may stand in several.
"""

from __future__ import annotations

from functools import cache

GROUPS = """
careful|thorough|attentive|meticulous|diligent; carefully|thoroughly|attentively|with care|closely|diligently;
quickly|fast|promptly|swiftly|without delay; slowly|unhurriedly|taking your time;
answer|reply|response|result|solution; answer|reply|respond; question|query|problem|inquiry;
questions|queries|problems; answers|replies|responses|results; text|passage|excerpt|document|input;
sentence|statement|line|phrase; sentences|statements|lines|phrases; paragraph|passage|section;
review|comment|critique|assessment; reviews|comments|critiques|assessments; review|check|examine|inspect;
article|piece|report|text; story|tale|narrative|account; message|note|communication; email|mail|message;
conversation|dialogue|exchange|discussion; document|file|text|record; word|term|expression; words|terms|expressions;
number|figure|value|quantity; numbers|figures|values|quantities; amount|quantity|sum; total|sum|overall amount;
list|series|enumeration; example|instance|sample|case; examples|instances|samples|cases; data|information|material;
information|facts|details|data; fact|detail|piece of information; topic|subject|theme|matter; title|heading|headline;
summary|synopsis|overview|digest; summarize|sum up|condense|outline; summarise|sum up|condense|outline;
classify|categorize|label|sort; category|class|label|type|kind; categories|classes|labels|types|kinds;
classification|categorization|labelling; label|tag|mark; sentiment|tone|mood|feeling|attitude;
opinion|view|judgement|stance; emotion|feeling|mood; positive|good|favourable|favorable;
negative|bad|unfavourable|unfavorable; neutral|balanced|mixed; happy|pleased|satisfied|content|delighted;
unhappy|displeased|dissatisfied|disappointed; good|great|fine|excellent; bad|poor|weak|terrible;
great|excellent|outstanding|superb; best|most suitable|strongest|finest; better|stronger|superior|improved;
worse|weaker|inferior; worst|weakest|poorest; film|movie|picture; movie|film|feature; product|item|article;
customer|client|buyer; user|person|reader; writer|author|reviewer; author|writer|creator; reader|audience|listener;
speaker|narrator|person; person|individual|someone; people|persons|individuals;
expert|specialist|professional|authority; assistant|helper|aide; teacher|instructor|tutor; student|learner|pupil;
engineer|developer|programmer; scientist|researcher|scholar; analyst|examiner|evaluator; read|study|go through|look at;
reading|studying|going through; write|compose|produce|draft; writing|composing|drafting; give|provide|supply|offer;
gives|provides|offers; provide|give|supply|offer; provided|given|supplied; given|provided|stated;
return|give back|output|deliver; output|print|return|produce; output|result|response; input|text|source|entry;
say|state|tell|declare; tell|inform|let know|say to; state|declare|say|express; explain|describe|clarify|spell out;
explanation|description|clarification|account; explanations|descriptions|clarifications;
describe|explain|portray|depict; describe|outline|characterize; discuss|talk about|consider;
think|reason|reflect|consider; thinking|reasoning|reflection; reason|cause|ground|motive;
reasoning|thinking|logic|argument; consider|think about|take into account|weigh; decide|determine|judge|choose;
decision|choice|judgement|verdict; determine|find out|establish|decide; judge|assess|evaluate|rate;
evaluate|assess|judge|appraise; assess|evaluate|gauge|rate; rate|score|grade|assess; score|rating|grade|mark;
compare|contrast|set against; choose|pick|select|opt for; select|choose|pick; choice|option|selection;
choices|options|selections; option|choice|alternative; options|choices|alternatives|possibilities;
find|locate|identify|discover; identify|recognize|find|spot|detect; detect|notice|spot|find; recognize|identify|know;
extract|pull out|take out|get; search|look for|seek; solve|work out|resolve|crack; solving|working out|resolving;
calculate|compute|work out; calculation|computation|working; compute|calculate|work out; count|tally|number;
check|verify|confirm|examine; verify|check|confirm|make sure; confirm|verify|make certain;
ensure|make sure|guarantee|see to it; make sure|ensure|see to it; remember|keep in mind|bear in mind|note;
note|notice|observe|keep in mind; notice|observe|see|note; understand|grasp|comprehend|make sense of;
understanding|grasp|comprehension; know|understand|be aware of; learn|find out|discover; use|apply|employ|make use of;
using|applying|employing|by means of; used|applied|employed; apply|use|put to use; follow|obey|keep to|stick to;
following|next|below; avoid|refrain from|do not use|stay away from; include|contain|mention|add;
including|containing|with; exclude|leave out|omit; omit|leave out|skip|drop; ignore|disregard|overlook|skip;
focus|concentrate|centre; focus on|concentrate on|pay attention to|attend to; pay attention to|attend to|focus on;
improve|enhance|better|refine; rewrite|rephrase|reword|restate; rephrase|reword|paraphrase; translate|render|convert;
convert|turn|transform|change; change|alter|modify|adjust; modify|change|alter|adapt; edit|revise|correct;
correct|fix|amend; correct|right|accurate|true; correctly|rightly|accurately|properly; right|correct|proper;
wrong|incorrect|false|mistaken; incorrect|wrong|false; true|correct|right; false|untrue|wrong;
accurate|precise|exact|correct; accurately|precisely|exactly; precise|exact|specific|accurate; exact|precise|specific;
exactly|precisely|just; mistake|error|slip; mistakes|errors|slips; error|mistake|fault; errors|mistakes|faults;
create|make|produce|generate; generate|produce|create|make; make|create|produce|build; build|construct|make|assemble;
design|plan|devise; develop|build|devise|work out; plan|strategy|approach; complete|finish|fill in|conclude;
complete|full|entire|whole; finish|complete|end|conclude; start|begin|open; begin|start|commence; end|finish|close;
continue|go on|carry on|proceed; help|assist|support|aid; helpful|useful|supportive; useful|helpful|valuable|practical;
show|present|display|demonstrate; present|show|lay out; format|form|layout|structure;
structure|organization|arrangement|layout; organize|arrange|order|structure; sort|order|arrange|rank; rank|order|sort;
order|sequence|arrangement; step by step|one step at a time|gradually|in small steps; step|stage|part;
steps|stages|parts; first|initially|to begin with|at the start; then|next|after that|afterwards; next|then|after that;
finally|lastly|at the end|in the end; before|prior to|ahead of; after|following|once done with;
because|since|as|for the reason that; therefore|thus|hence|so; so|therefore|thus; however|but|yet|still;
but|yet|though; also|too|as well|in addition; only|just|solely|nothing but; just|only|simply;
simply|merely|just|plainly; always|at all times|every time|without exception; never|at no time|under no circumstances;
must|have to|need to|should; should|ought to|must|need to; can|may|are able to; please|kindly;
if|in case|when|provided that; when|while|whenever|as soon as; whether|if; each|every|every single; every|each|any;
all|every one of|the whole of; any|some|whichever; some|a few|several; many|numerous|a lot of|lots of;
most|nearly all|the majority of; few|not many|a small number of; several|some|multiple|a number of;
different|distinct|various|other; various|several|different|diverse; similar|alike|comparable; same|identical|equal;
main|chief|principal|key|central; key|main|essential|crucial; important|significant|essential|vital|crucial;
essential|vital|necessary|crucial; relevant|pertinent|related|applicable; necessary|needed|required;
required|needed|necessary; need|require|want; want|wish|need|would like; clear|plain|unambiguous|lucid;
clearly|plainly|unambiguously|distinctly; simple|easy|plain|basic; simple|straightforward|uncomplicated;
easy|simple|effortless; hard|difficult|tough|challenging; difficult|hard|challenging|tricky;
complex|complicated|intricate; short|brief|concise|compact; briefly|shortly|concisely|in a few words;
brief|short|concise; concise|brief|short|to the point; concisely|briefly|succinctly; long|lengthy|extended|extensive;
detailed|in-depth|thorough|elaborate; detail|depth|specifics; big|large|great; large|big|sizeable; small|little|tiny;
new|fresh|novel|recent; old|earlier|former; recent|latest|new; previous|earlier|prior|preceding;
current|present|existing; final|last|closing|ultimate; last|final|closing; single|one|sole;
one word|a single word|just one word; in one word|with a single word|using one word; possible|feasible|conceivable;
possible|likely|potential; likely|probable|plausible; probably|likely|most likely; certain|sure|definite;
sure|certain|confident; logical|rational|sound|coherent; logically|rationally|soundly;
creative|imaginative|inventive|original; original|creative|novel; formal|official|proper; casual|informal|relaxed;
polite|courteous|respectful; friendly|kind|warm|cordial; professional|expert|businesslike;
honest|truthful|sincere|frank; critical|analytical|discerning; objective|impartial|unbiased|neutral;
objective|goal|aim|purpose; goal|aim|objective|target; purpose|aim|intention|goal; task|job|assignment|exercise;
work|job|task; role|part|function; act as|play the role of|behave as; you are|act as|imagine you are;
way|manner|method|fashion; method|approach|technique|way; approach|method|way|strategy; idea|thought|concept|notion;
ideas|thoughts|concepts|notions; point|aspect|item; points|aspects|items; issue|problem|matter;
context|background|setting|situation; situation|circumstances|case|context; content|substance|material;
meaning|sense|significance; language|wording|tongue; style|manner|tone; tone|style|voice; quality|standard|level;
rule|guideline|principle; rules|guidelines|principles; instruction|direction|guideline|command;
instructions|directions|guidelines|commands; request|ask|demand; ask|inquire|request; code|program|script;
function|routine|procedure; test|check|try; evidence|proof|support|grounds; proof|evidence|demonstration;
quote|cite|reference; conclusion|result|verdict|outcome; outcome|result|effect; effect|consequence|impact;
difference|distinction|contrast; relationship|relation|connection|link;
based on|according to|on the basis of|in light of; according to|based on|in line with; about|concerning|regarding|on;
regarding|about|concerning; between|among; with|using|by means of; without|lacking|free of; within|inside|in;
instead of|rather than|in place of; such as|like|for example; for example|for instance|such as;
in order to|so as to|to; as well as|along with|and also; here is|this is|below is
"""

ADDITIONS = """
Think step by step; Work it out step by step; Take a deep breath; Take your time; Be concise; Be brief; Be precise;
Be thorough; Be careful; Be specific; Be honest about what you do not know; Explain your reasoning;
Give the reason first; Read everything before you answer; Read the question twice; Consider every option;
Consider both sides; Check your answer; Check each step for mistakes; Verify the result before you reply;
Answer in one word; Answer in a few words; Answer directly; Give only the answer; Give the final answer at the end;
Use simple words; Use the given information only; Do not guess; Do not add anything else; Do not repeat the question;
Stay on the topic; Pay attention to details; Pay attention to the tone; Look for the key words; Look at the whole text;
Focus on the main point; Ignore what is not relevant; Think of the opposite case; Compare the alternatives;
Choose the most likely one; Break the problem into parts; Start with the most important fact;
Follow the instructions exactly; You are an expert; You are a careful reader; Imagine explaining it to a colleague;
This is important; Keep the requested format
"""


@cache
def alternatives() -> dict[str, tuple[str, ...]]:
    """What may stand for a word or phrase, by its lower-case form."""
    found: dict[str, dict[str, None]] = {}
    for group in (entry.split("|") for entry in _entries(GROUPS)):
        for word in group:
            found.setdefault(word, {}).update(dict.fromkeys(other for other in group if other != word))
    return {word: tuple(others) for word, others in found.items()}


@cache
def additions() -> tuple[str, ...]:
    """Sentences, without their full stop, that may be added to an instruction."""
    return tuple(_entries(ADDITIONS))


@cache
def vocabulary() -> tuple[str, ...]:
    """The single words of the table."""
    return tuple(sorted(word for word in alternatives() if " " not in word))


def _entries(table: str) -> list[str]:
    return " ".join(table.split()).split("; ")
