"""Issues, deployments, metrics, backups, firewalls and feature flags."""

from functools import partial

from ..facts import (
    choice,
    clock,
    code,
    count,
    either,
    may,
    measure,
    need,
    pick,
    quoted,
    record,
    several,
    span,
)
from ..tool import Tool
from ..words import (
    DATABASES,
    FIRST_NAMES,
    FLAGS,
    HOSTS,
    ISSUE_TITLES,
    LABELS,
    NETWORKS,
    REPOSITORIES,
    SERVICES,
)

tool = partial(Tool, domain="software")
ENVIRONMENT = choice({"production": ["production"], "staging": ["staging"], "test": ["the test environment"]})

TOOLS = (
    tool(
        name="create_issue",
        does="Opens an issue in a repository.",
        parameters=(
            need("repository", "Name of the repository", pick(REPOSITORIES)),
            need("title", "Title of the issue", quoted(ISSUE_TITLES)),
            may("labels", "Labels", several(pick(LABELS), 1, 2), "Label it {labels}.", "Labels: {labels}."),
            may(
                "priority",
                "Urgency",
                choice({"low": ["low"], "medium": ["medium"], "high": ["high"]}),
                "Priority is {priority}.",
                "Give it {priority} priority.",
            ),
            may(
                "assignee",
                "First name of the person in charge",
                pick(FIRST_NAMES),
                "Assign it to {assignee}.",
                "{assignee} will take care of it, so assign it accordingly.",
            ),
        ),
        do=(
            "open an issue {title} in {repository}",
            "create an issue in the repository {repository} with the title {title}",
            "file an issue called {title} against {repository}",
        ),
        say=(
            "Issue in {repository}: {title}.",
            "A customer just found something in {repository}. Please open an issue with the title {title}.",
            "{title} deserves an issue in {repository}.",
            "I can reproduce it now. The repository is {repository}; the title of the issue should be {title}.",
        ),
        goal=("an issue in {repository}", "the issue {title}"),
        aside="The keyboard lost its letter Q this morning.",
    ),
    tool(
        name="deploy_service",
        does="Deploys a version of a service.",
        parameters=(
            need("service", "Name of the service", pick(SERVICES)),
            need("version", "Version", code("#.#.#")),
            need("environment", "Where to", ENVIRONMENT),
            may(
                "replicas",
                "Number of copies to run",
                count("replica", 2, 9),
                "Run {replicas}.",
                "It should have {replicas}.",
            ),
            may(
                "strategy",
                "How to replace the old version",
                choice(
                    {
                        "rolling": ["a rolling update"],
                        "blue_green": ["a blue-green switch"],
                        "canary": ["a canary release"],
                    }
                ),
                "Do it as {strategy}.",
                "Use {strategy}.",
            ),
        ),
        do=(
            "deploy version {version} of {service} to {environment}",
            "roll out {service} {version} to {environment}",
            "put the {service} service in version {version} on {environment}",
        ),
        say=(
            "Deploy {service} {version}, {environment}.",
            "The tests passed and everyone signed off. {service} {version} can go to {environment}.",
            "{environment} still runs the old {service}. Please deploy version {version}.",
            "Version {version} of {service} is ready for {environment}; please deploy.",
        ),
        goal=("{service} {version} on {environment}", "a deployment of {service}"),
        aside="Somebody brought doughnuts for the release.",
    ),
    tool(
        name="query_metrics",
        does="Reads a metric of a service.",
        parameters=(
            need("service", "Name of the service", pick(SERVICES)),
            need(
                "metric",
                "Which metric",
                choice(
                    {
                        "latency": ["latency"],
                        "error_rate": ["error rate"],
                        "cpu": ["CPU load"],
                        "memory": ["memory use"],
                    }
                ),
            ),
            need("window_minutes", "How far back, in minutes", span(5, 15, 30, 45, 60, 90, 120)),
            may(
                "aggregate",
                "How to summarise",
                choice({"average": ["the average"], "maximum": ["the maximum"], "p95": ["the 95th percentile"]}),
                "I need {aggregate}.",
                "Show {aggregate}.",
            ),
        ),
        do=(
            "get the {metric} of {service} over the past {window_minutes}",
            "check the {metric} of the {service} service, looking back {window_minutes}",
            "query the {metric} for {service} with a window of {window_minutes}",
        ),
        say=(
            "{service}, {metric}, window {window_minutes}.",
            "{service} feels odd. What does the {metric} look like if you go back {window_minutes}?",
            "How is the {metric} of {service}? Look back {window_minutes}.",
            "I'm on call and need numbers: {metric}, service {service}, looking back {window_minutes}.",
        ),
        goal=("the {metric} of {service}", "a look at {service}"),
        aside="The pager went off during lunch again.",
        answers=True,
    ),
    tool(
        name="schedule_backup",
        does="Schedules regular backups of a database.",
        parameters=(
            need("database", "Name of the database", pick(DATABASES)),
            need("time", "Time of day", clock(13, 23)),
            need(
                "weekdays",
                "Days of the week",
                several(
                    choice(
                        {
                            "mon": ["Monday"],
                            "tue": ["Tuesday"],
                            "wed": ["Wednesday"],
                            "thu": ["Thursday"],
                            "fri": ["Friday"],
                            "sat": ["Saturday"],
                            "sun": ["Sunday"],
                        }
                    ),
                    1,
                    3,
                ),
            ),
            may(
                "keep_days",
                "How long backups are kept, in days",
                count("day", 14, 90),
                "Keep them for {keep_days}.",
                "Delete them after {keep_days}.",
            ),
            may(
                "encryption",
                "Whether to encrypt",
                either("encrypted", "unencrypted"),
                "The files should be {encryption}.",
            ),
        ),
        do=(
            "schedule backups of the database {database} for every {weekdays} at {time}",
            "back up {database} every {weekdays} at {time}",
            "set up a backup of {database} that runs at {time} every {weekdays}",
        ),
        say=(
            "Backups: {database}, every {weekdays}, {time}.",
            "We lost data once and that was enough. {database} has to be backed up at {time} every {weekdays}.",
            "Every {weekdays} at {time} there should be a backup of {database}.",
        ),
        goal=("backups of {database}", "a backup plan for {database}"),
        aside="The server room is the coldest place in the building.",
    ),
    tool(
        name="open_firewall_port",
        does="Opens a port on a host.",
        parameters=(
            need("host", "Name of the host", pick(HOSTS)),
            need("port", "Port number", measure(1024, 9999, 1, "{}")),
            need("protocol", "Protocol", choice({"tcp": ["TCP"], "udp": ["UDP"]})),
            need("sources", "Networks that get access", several(pick(NETWORKS), 1, 2)),
            may(
                "ticket",
                "Number of the ticket",
                code("OPS-####"),
                "The ticket is {ticket}.",
                "Note the ticket {ticket}.",
            ),
        ),
        do=(
            "open {protocol} port {port} on {host} for {sources}",
            "allow {sources} to reach {protocol} port {port} on {host}",
            "add a firewall rule on {host} that lets {sources} in on {protocol} port {port}",
        ),
        say=(
            "Firewall {host}: {protocol} {port}, from {sources}.",
            "The new monitoring cannot get through. On {host}, please open port {port} ({protocol}) to {sources}.",
            "Traffic from {sources} should be let in on {host}. It is port {port}, protocol {protocol}.",
        ),
        goal=("{protocol} port {port} on {host}", "a firewall rule on {host}"),
        aside="Network diagrams here are mostly fiction.",
    ),
    tool(
        name="set_feature_flag",
        does="Switches a feature flag.",
        unseen=True,
        parameters=(
            need("flag", "Name of the flag", pick(FLAGS)),
            need("environment", "Where", ENVIRONMENT),
            need("enabled", "Whether it is on", either("on", "off")),
            may(
                "rollout",
                "For whom",
                record(
                    ("{percent} of the users on {platform}",),
                    need("percent", "Share of users", measure(5, 95, 5, "{} percent")),
                    need(
                        "platform",
                        "Platform",
                        choice({"web": ["the web"], "ios": ["iOS"], "android": ["Android"]}),
                    ),
                ),
                "This applies to {rollout}.",
                "Limit the change to {rollout}.",
            ),
        ),
        do=(
            "turn the feature flag {flag} {enabled} in {environment}",
            "switch {flag} {enabled} in {environment}",
        ),
        say=(
            "Flag {flag}, {environment}: {enabled}.",
            "Product has decided about {flag}: in {environment} the flag should be {enabled}.",
            "In {environment} we want the flag {flag} to be {enabled}.",
        ),
        goal=("a change of the flag {flag} in {environment}", "a switch of {flag}"),
        aside="The roadmap changes faster than the weather.",
    ),
)
