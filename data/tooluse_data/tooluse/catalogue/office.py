"""Calendar, reminders, rooms, leave, hours and interviews."""

from functools import partial

from ..facts import (
    choice,
    clock,
    count,
    day,
    either,
    full_name,
    may,
    measure,
    need,
    pick,
    quoted,
    several,
    span,
)
from ..tool import Tool
from ..words import (
    BUILDINGS,
    FIRST_NAMES,
    LAST_NAMES,
    MEETING_TITLES,
    PROJECTS,
    REMINDERS,
    ROLES,
    WORK_ITEMS,
)

tool = partial(Tool, domain="office")
PERSON = full_name(FIRST_NAMES, LAST_NAMES)

TOOLS = (
    tool(
        name="create_event",
        does="Puts an event into the calendar.",
        parameters=(
            need("title", "Title of the event", quoted(MEETING_TITLES)),
            need("date", "Day", day()),
            need("start", "Start", clock(8, 18)),
            need("minutes", "Length in minutes", span(15, 30, 45, 60, 90, 120)),
            may(
                "attendees",
                "Full names of the people to invite",
                several(PERSON, 1, 3),
                "Invite {attendees}.",
                "{attendees} should be invited.",
                "Send invitations to {attendees}.",
            ),
            may(
                "repeat",
                "How often it repeats",
                choice(
                    {
                        "daily": ["every day", "daily"],
                        "weekly": ["every week", "weekly"],
                        "monthly": ["every month", "monthly"],
                    }
                ),
                "Repeat it {repeat}.",
                "It repeats {repeat}.",
            ),
        ),
        do=(
            "put {title} into the calendar on {date} at {start} for {minutes}",
            "create a calendar event {title} on {date}, starting at {start} and lasting {minutes}",
            "add the event {title} to the calendar: {date}, {start}, length {minutes}",
        ),
        say=(
            "Calendar: {title}, {date}, {start}, {minutes}.",
            "We finally agreed when {title} happens: {date} at {start}. It lasts {minutes}. Please enter "
            "it into the calendar.",
            "Block {minutes} in the calendar for {title}. It starts at {start} on {date}.",
            "I keep forgetting {title}, so it should go into the calendar. Day: {date}. Start: {start}. "
            "Length: {minutes}.",
        ),
        goal=("a calendar event called {title}", "{title} in the calendar on {date}"),
        aside="The office plants have never looked better.",
    ),
    tool(
        name="set_reminder",
        does="Reminds the user of something at a given time.",
        parameters=(
            need("text", "What to be reminded of", quoted(REMINDERS)),
            need("date", "Day", day()),
            need("time", "Time of day", clock(7, 20)),
            may(
                "early_minutes",
                "Extra warning this many minutes before",
                span(10, 15, 30, 60),
                "Warn me {early_minutes} earlier as well.",
                "I want an extra warning {early_minutes} before that.",
            ),
        ),
        do=(
            "set a reminder {text} for {date} at {time}",
            "remind me on {date} at {time} with the words {text}",
            "create a reminder that says {text}, due {date}, {time}",
        ),
        say=(
            "Reminder {text}, {date}, {time}.",
            "My memory is a sieve. Please remind me at {time} on {date}: {text}.",
            "{text} is what I must not forget on {date}; the reminder should come at {time}.",
            "At {time} on {date} I'd like to see a reminder that reads {text}.",
        ),
        goal=("a reminder that says {text}", "a reminder on {date}"),
        aside="I had three coffees and still feel sleepy.",
    ),
    tool(
        name="book_meeting_room",
        does="Books a meeting room for part of a day.",
        parameters=(
            need("building", "Building", pick(BUILDINGS)),
            need("date", "Day", day()),
            need("start", "Start", clock(8, 12)),
            need("end", "End", clock(13, 18)),
            need("people", "Number of people", count("person", 3, 20, "people")),
            may(
                "equipment",
                "Needed equipment",
                several(
                    choice(
                        {
                            "projector": ["a projector"],
                            "whiteboard": ["a whiteboard"],
                            "video": ["video conferencing"],
                        }
                    ),
                    1,
                    2,
                ),
                "The room needs {equipment}.",
                "We need {equipment} in there.",
            ),
        ),
        do=(
            "book a meeting room in {building} for {people} on {date} from {start} to {end}",
            "reserve a room for {people} in {building}, {date}, from {start} until {end}",
            "find and book a meeting room in {building} on {date}, {start} to {end}, for {people}",
        ),
        say=(
            "Meeting room, {building}, {date}, {start} to {end}, {people}.",
            "The auditors are coming on {date} and I need a meeting room in {building}. We are {people} "
            "and sit together from {start} to {end}.",
            "{people} need a meeting room in {building}. Date: {date}; start {start}, end {end}.",
            "From {start} until {end} on {date} we want to meet in {building}, {people} altogether. Please "
            "book a room.",
        ),
        goal=("a meeting room in {building}", "a room for {people}"),
        aside="The printer on our floor has a will of its own.",
    ),
    tool(
        name="request_leave",
        does="Files a request for days off.",
        parameters=(
            need("employee", "Full name", PERSON),
            need(
                "kind",
                "Kind of leave",
                choice(
                    {
                        "vacation": ["vacation"],
                        "parental": ["parental leave"],
                        "unpaid": ["unpaid leave"],
                        "training": ["training leave"],
                    }
                ),
            ),
            need("first_day", "First day off", day()),
            need("working_days", "Number of working days", count("working day", 1, 15)),
            may(
                "substitute",
                "Full name of the person who fills in",
                PERSON,
                "{substitute} fills in meanwhile.",
                "The substitute is {substitute}.",
            ),
        ),
        do=(
            "request {kind} for {employee} starting {first_day}, {working_days} in total",
            "file a leave request for {employee}: {kind}, {working_days} from {first_day}",
            "put in for {working_days} of {kind} for {employee}, the first day being {first_day}",
        ),
        say=(
            "Leave request: {employee}, {kind}, from {first_day}, {working_days}.",
            "{employee} would like {working_days} off as {kind}. The first day off is {first_day}.",
            "From {first_day} on, {employee} will be away for {working_days}. It counts as {kind}; please file it.",
            "Please hand in the paperwork so that {employee} gets {kind}: {working_days}, beginning on {first_day}.",
        ),
        goal=("{kind} for {employee}", "a leave request for {working_days}"),
        aside="The team calendar is a mess since the new year.",
    ),
    tool(
        name="log_work_hours",
        does="Records hours worked on a project.",
        parameters=(
            need("project", "Name of the project", pick(PROJECTS)),
            need("date", "Day of the work", day()),
            need("hours", "Hours worked, as a decimal number", measure(1.5, 8, 0.5, "{} hours")),
            may(
                "task",
                "What was done",
                quoted(WORK_ITEMS),
                "The task was {task}.",
                "Describe the task as {task}.",
            ),
            may(
                "billable",
                "Whether the client pays",
                either("billable", "not billable"),
                "The time is {billable}.",
                "Mark it as {billable}.",
            ),
        ),
        do=(
            "log {hours} on the project {project} for {date}",
            "record that I worked {hours} on project {project} on {date}",
            "enter {hours} for project {project}, dated {date}",
        ),
        say=(
            "Timesheet: {project}, {date}, {hours}.",
            "I forgot my timesheet again. On {date} it was {hours}, all for project {project}.",
            "Project {project} kept me busy for {hours} on {date}. Please log that.",
            "{hours} of work went into {project} on {date}; add them to the time records.",
        ),
        goal=("a time entry of {hours} for {project}", "the time records of {project}"),
        aside="Finance sends a stern email whenever someone is late with this.",
    ),
    tool(
        name="schedule_interview",
        does="Schedules a job interview.",
        unseen=True,
        parameters=(
            need("candidate", "Full name", PERSON),
            need("role", "Job title", quoted(ROLES)),
            need("date", "Day", day()),
            need("time", "Start", clock(9, 16)),
            need(
                "format",
                "How it is held",
                choice({"video": ["by video"], "phone": ["by phone"], "on_site": ["on site"]}),
            ),
            may(
                "panel",
                "Full names of the interviewers",
                several(PERSON, 1, 3),
                "The panel is {panel}.",
                "Interviewing will be {panel}.",
            ),
        ),
        do=(
            "schedule an interview {format} with {candidate} for the role {role} on {date} at {time}",
            "set up a job interview {format}: {candidate}, role {role}, {date}, {time}",
        ),
        say=(
            "Interview: {candidate}, {role}, {date}, {time}, {format}.",
            "{candidate} has applied as {role} and made a good impression. Let's interview {format} on "
            "{date} at {time}.",
            "We fill the role {role} soon. On {date} at {time} we'd like to interview {candidate} {format}.",
        ),
        goal=("a job interview with {candidate}", "an interview for the role {role}"),
        aside="The job advert had a typo that nobody noticed for a week.",
    ),
)
