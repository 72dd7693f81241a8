"""Currencies, transfers, bills, shared costs, loans and invoices."""

from functools import partial

from ..facts import (
    choice,
    code,
    count,
    day,
    full_name,
    may,
    measure,
    money,
    need,
    pick,
    quoted,
    record,
    several,
)
from ..tool import Tool
from ..words import ACCOUNTS, CLIENTS, COMPANIES, EXPENSES, FIRST_NAMES, INVOICE_LINES, LAST_NAMES, REFERENCES

tool = partial(Tool, domain="money")
CURRENCY = choice(
    {
        "EUR": ["euros", "EUR"],
        "USD": ["US dollars", "USD"],
        "GBP": ["British pounds", "GBP"],
        "CHF": ["Swiss francs", "CHF"],
        "SEK": ["Swedish kronor", "SEK"],
        "PLN": ["Polish zloty", "PLN"],
        "NOK": ["Norwegian kroner", "NOK"],
        "CAD": ["Canadian dollars", "CAD"],
    }
)

TOOLS = (
    tool(
        name="convert_currency",
        does="Converts an amount of money at today's rate.",
        parameters=(
            need("amount", "Amount to convert", money(20, 9000)),
            need("from_currency", "Currency of the amount", CURRENCY),
            need("to_currency", "Currency wanted", CURRENCY),
        ),
        do=(
            "convert {amount} {from_currency} to {to_currency}",
            "work out what {amount} {from_currency} are worth in {to_currency}",
            "tell me how many {to_currency} I get for {amount} {from_currency}",
        ),
        say=(
            "{amount} {from_currency} in {to_currency}?",
            "A shop abroad wants {amount} {from_currency} for a lamp. What would that be in {to_currency}?",
            "How much is {amount} {from_currency} if I pay in {to_currency}?",
            "I was quoted {amount} {from_currency} and my budget is kept in {to_currency}. Please convert.",
        ),
        goal=(
            "{amount} {from_currency} in {to_currency}",
            "a conversion from {from_currency} to {to_currency}",
        ),
        aside="I found old coins in a coat pocket the other day.",
        answers=True,
    ),
    tool(
        name="transfer_money",
        does="Sends money from one of the user's accounts.",
        parameters=(
            need("from_account", "Name of the user's account", pick(ACCOUNTS)),
            need("recipient", "Full name of the recipient", full_name(FIRST_NAMES, LAST_NAMES)),
            need("amount", "Amount", money(15, 2500)),
            need("currency", "Currency", CURRENCY),
            may(
                "reference",
                "Reference text",
                quoted(REFERENCES),
                "As reference put {reference}.",
                "The reference is {reference}.",
            ),
            may(
                "execute_on",
                "Day of the transfer",
                day(),
                "Do it on {execute_on}.",
                "The money should leave on {execute_on}.",
            ),
        ),
        do=(
            "transfer {amount} {currency} from the {from_account} account to {recipient}",
            "send {recipient} {amount} {currency} out of the {from_account} account",
            "move {amount} {currency} to {recipient} from the {from_account} account",
        ),
        say=(
            "Transfer: {amount} {currency}, {from_account} account, to {recipient}.",
            "I owe {recipient} {amount} {currency}. Please transfer it from the {from_account} account.",
            "{recipient} paid for everything last week, so {amount} {currency} should go there from the "
            "{from_account} account.",
            "From the {from_account} account, {recipient} is to receive {amount} {currency}.",
        ),
        goal=("{amount} {currency} for {recipient}", "a transfer to {recipient}"),
        aside="The bank's app takes forever to open on my phone.",
    ),
    tool(
        name="pay_bill",
        does="Pays a bill of a company.",
        parameters=(
            need("company", "Name of the company", pick(COMPANIES)),
            need("bill_number", "Number of the bill", code("@@-#####")),
            need("amount", "Amount", money(20, 900)),
            need("currency", "Currency", CURRENCY),
            may(
                "account",
                "Name of the account to pay from",
                pick(ACCOUNTS),
                "Use the {account} account.",
                "Take it from the {account} account.",
            ),
        ),
        do=(
            "pay bill {bill_number} from {company} over {amount} {currency}",
            "pay {company} the {amount} {currency} of bill {bill_number}",
            "settle the {company} bill {bill_number}, which is {amount} {currency}",
        ),
        say=(
            "Bill {bill_number}, {company}, {amount} {currency}: pay.",
            "{company} has sent a second notice about bill {bill_number}. It is {amount} {currency}; please pay it.",
            "There is a bill from {company} on my desk, {amount} {currency}, number {bill_number}. Please pay it.",
            "Could you take care of {amount} {currency} for {company}? The bill number is {bill_number}.",
        ),
        goal=("the payment of bill {bill_number}", "a payment to {company}"),
        aside="The letterbox was so full that half of it got wet.",
    ),
    tool(
        name="add_shared_expense",
        does="Adds a cost to the group's shared list.",
        parameters=(
            need("description", "What the money was for", quoted(EXPENSES)),
            need("amount", "Amount", money(12, 600)),
            need("currency", "Currency", CURRENCY),
            need("paid_by", "First name of the one who paid", pick(FIRST_NAMES)),
            need(
                "shares",
                "Shares of the others; the payer carries the rest",
                several(
                    record(
                        ("{name} carries {percent}", "{name} has to carry {percent}"),
                        need("name", "First name", pick(FIRST_NAMES)),
                        need("percent", "Share in percent", measure(10, 30, 5, "{} percent")),
                    ),
                    2,
                    3,
                ),
            ),
        ),
        do=(
            "add {description} to the shared expenses: {amount} {currency}, paid by {paid_by}, where {shares}",
            "enter the shared cost {description} of {amount} {currency} that {paid_by} paid, of which {shares}",
        ),
        say=(
            "Shared cost {description}, {amount} {currency}, paid by {paid_by}; {shares}.",
            "{paid_by} paid {amount} {currency} for {description}. Of that, {shares}. Add it to the list.",
            "For our group's list: {description} cost {amount} {currency}. The one who paid is {paid_by}. "
            "Shares: {shares}.",
        ),
        goal=("the shared cost {description}", "the group's list of shared costs"),
        aside="Whoever was at the cabin owes us a story as well.",
    ),
    tool(
        name="calculate_loan",
        does="Calculates the monthly payment of a loan.",
        parameters=(
            need("principal", "Sum borrowed", money(2000, 90000)),
            need("currency", "Currency", CURRENCY),
            need("rate", "Interest per year, in percent", measure(1.5, 8.75, 0.25, "{}")),
            need("years", "Duration in years", count("year", 2, 25)),
        ),
        do=(
            "calculate the monthly payment for a loan of {principal} {currency} over {years} at {rate} percent a year",
            "work out what a loan of {principal} {currency} costs per month at {rate} percent yearly "
            "interest over {years}",
            "compute the monthly rate of a loan of {principal} {currency} that runs for {years} at {rate} "
            "percent a year",
        ),
        say=(
            "Loan: {principal} {currency}, {rate} percent, {years}. Monthly payment?",
            "We dream of a houseboat and would borrow {principal} {currency} at {rate} percent a year. "
            "What do we pay each month if it runs for {years}?",
            "How high is the monthly payment if I borrow {principal} {currency} for {years} at {rate} "
            "percent interest a year?",
        ),
        goal=("the monthly payment on {principal} {currency}", "the cost of a loan over {years}"),
        aside="My grandfather never borrowed anything, not even a ladder.",
        answers=True,
    ),
    tool(
        name="create_invoice",
        does="Creates an invoice for a client.",
        unseen=True,
        parameters=(
            need("client", "Name of the client", pick(CLIENTS)),
            need("currency", "Currency", CURRENCY),
            need(
                "lines",
                "What is charged",
                several(
                    record(
                        (
                            "{description} ({quantity} at {unit_price} each)",
                            "{quantity} of {description} at {unit_price} each",
                        ),
                        need("description", "What was delivered", quoted(INVOICE_LINES)),
                        need("quantity", "How many", count("unit", 2, 12)),
                        need("unit_price", "Price of one", money(25, 700)),
                    ),
                    1,
                    3,
                ),
            ),
            need("due", "Last day for payment", day()),
            may(
                "discount_percent",
                "Discount in percent",
                measure(5, 20, 5, "{} percent"),
                "Grant a discount of {discount_percent}.",
                "They get {discount_percent} off.",
            ),
        ),
        do=(
            "invoice {client} in {currency} for {lines}, due on {due}",
            "create an invoice in {currency} for {client}, payable by {due}: {lines}",
        ),
        say=(
            "Invoice to {client} in {currency}, due {due}: {lines}.",
            "The work for {client} is finished, so send the bill: {lines}. All prices are in {currency}; "
            "payment is due on {due}.",
            "{client} asked for the invoice. It is in {currency}, due {due}, and lists {lines}.",
        ),
        goal=("an invoice for {client}", "the invoice that {client} has to pay"),
        aside="Our accountant is away sailing.",
    ),
)
