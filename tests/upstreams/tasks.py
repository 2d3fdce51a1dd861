"""What the runs are asked, and what would refute a right answer to it."""

import dataclasses

ENDS = frozenset({"succeeded", "failed", "paused"})


@dataclasses.dataclass(frozen=True)
class Task:
    """A prompt, the ends it may come to, and what a success must look like."""

    prompt: str
    ends: frozenset = ENDS
    text: str | None = None  # part of the text of a success
    iterations: int | None = None  # model calls of a success
    whole: bool | None = True  # whether a success is complete; False: its reply is cut; None: either

    def refute(self, result):
        """What is wrong with a result that nobody interrupted."""
        status, wrong = result.get("status"), []
        if status not in self.ends:
            code = (result.get("error") or {}).get("code")
            wrong.append(f"{status} ({code}) where only {' or '.join(sorted(self.ends))} is right")
        if status != "succeeded":
            return wrong
        if self.text is not None and self.text not in (result.get("text") or ""):
            wrong.append(f"text {result.get('text')!r} lacks {self.text!r}")
        if self.iterations is not None and result.get("iterations_used") != self.iterations:
            wrong.append(f"{result.get('iterations_used')} model calls instead of {self.iterations}")
        if self.whole is not None and bool(result.get("task_completed")) != self.whole:
            wrong.append("a whole reply that is not task_completed" if self.whole
                         else "a cut reply reported as whole")
        return wrong


def only(*ends):
    return frozenset(ends)


# The prompts are keys of aimock/fixtures.json.
AIMOCK = [
    Task("Survey the notes.", only("succeeded"), text="Survey complete: two notes", iterations=3),
    Task("Answer at once.", only("succeeded"), text="At once: no tool was needed.", iterations=1),
    Task("Never stop.", only("paused")),
    Task("Call what is not there.", only("succeeded"), text="told so, I stop here", iterations=2),
    Task("Run out of tokens.", whole=False),
    Task("Hang up on me.", only("failed")),
    Task("Hang up in a call.", only("failed")),
    Task("Refuse me.", only("failed")),
    Task("Be overloaded.", only("failed")),
]

# Random weights: any end may come, as long as it is one.
LLAMA = [
    Task("Read all notes and tell me about the harbour.", whole=None),
    Task("Fetch item 7 and item 9, then stop.", whole=None),
    Task("Search for the lighthouse 灯台.", whole=None),
]

# The prompts are matched in fake/script.json: faults of the strict fake, on every attempt or the first.
# Their whole table is another test's; here they are mixed with sound replies on one busy server.
FAKE_LOST = ["truncate-fin", "truncate-clean", "missing-finish", "error-event-mid", "reset-after-head",
             "html-200", "garbage-data", "status-500", "rate-limit-millis"]
FAKE_SOUND = ["split-utf8", "byte-by-byte", "crlf-split"]
FAKE_LOST_CALL = ["truncate-mid-event", "duplicate-id-unequal"]
FAKE_BAD_CALL = ["arguments-cut", "arguments-not-json", "arguments-not-object"]

TEXT, TOLD = "A long reply: grüße from the lighthouse 灯台", "told so, I stop here"
FAKE = [
    Task("Survey the notes.", only("succeeded"), text="Survey complete: two notes", iterations=3),
    Task("Answer at once.", only("succeeded"), text="At once: no tool was needed.", iterations=1),
    Task("Never stop.", only("paused")),
    Task("Call what is not there.", only("succeeded"), text=TOLD, iterations=2),
    *[Task(f"Meet {fault}, always.", only("failed")) for fault in FAKE_LOST + FAKE_LOST_CALL],
    *[Task(f"Meet {fault}, first.", only("succeeded"), text=TEXT) for fault in FAKE_LOST],
    *[Task(f"Meet {fault}, first.", only("succeeded"), text=TOLD) for fault in FAKE_LOST_CALL],
    *[Task(f"Meet {fault}, always.", only("succeeded"), text=TEXT) for fault in FAKE_SOUND],
    # The fault goes to the model as the call's result, or the run fails; the call never runs.
    *[Task(f"Meet {fault}, always.", only("succeeded", "failed"), text=TOLD) for fault in FAKE_BAD_CALL],
    Task("Meet duplicate-id-equal, always.", only("succeeded"), text=TOLD, iterations=2),
    Task("Meet status-401, always.", only("failed")),
    Task("Meet refusal, always.", only("failed")),
    Task("Meet finish-length, always.", whole=False),
]


def chaotic(tasks):
    """The same tasks where any request may fail: failing is right too, a wrong success is not."""
    return [dataclasses.replace(task, ends=task.ends | {"failed"}) for task in tasks]


# What a format cannot carry: the end that a task may come to there instead.
INSTEAD = {
    # A call is one event: aimock hangs up after it, and gives the same turn again.
    ("gemini", "Hang up in a call."): "paused",
    ("ollama", "Hang up in a call."): "paused",
    # There are none: the fake says its text.
    ("gemini", "Meet refusal, always."): "succeeded",
    ("ollama", "Meet refusal, always."): "succeeded",
}
# Replies that their upstream does not tell from whole ones: aimock always says `stop` there.
TOLD_AS_WHOLE = {("ollama", "Run out of tokens.")}


def of(wire, tasks):
    """The tasks with the ends they may come to in this wire format."""
    return [dataclasses.replace(task, ends=task.ends | {INSTEAD[wire, task.prompt]})
            if (wire, task.prompt) in INSTEAD
            else dataclasses.replace(task, whole=True, ends=task.ends | {"succeeded"})
            if (wire, task.prompt) in TOLD_AS_WHOLE else task
            for task in tasks]
