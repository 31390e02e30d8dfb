"""Every fault code of the runtime: what it means and what to do. The page in the documentation is made from this table."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One code."""

    code: str
    title: str
    explanation: str
    remedy: str


FAULTS: tuple[Fault, ...] = (
    Fault("RT0001", "A command line that does not fit", "A word or a value on the command line is not known.", "Look at --help of that command."),
    Fault("RT0002", "An option that does not fit", "An option has an unknown name, or a value of the wrong kind. Options come from the command line, from RESTATE_RUNTIME_* variables, from the TOML file and from keywords of app.start.", "Correct the name or the value; the message says where it came from."),
    Fault("RT0003", "A configuration file that cannot be read", "The file given with --config or --descriptors is missing, not readable, or something else: no TOML, no descriptors.", "Correct the path or the file."),
    Fault("RT0004", "An address that cannot be listened on", "The port is taken, or the host is no address of this machine.", "Stop the other process, or choose another address; port 0 takes a free one."),
    Fault("RT0005", "A module that cannot be loaded", "MODULE:APP names a module that cannot be imported, or an object that is no App.", "Run the command where the module can be imported from, and check the names."),
    Fault("RT0006", "A platform that is not supported", "The runtime runs on Linux and macOS, which have the file locks that it needs.", "Run it there; plugin and clients run on Windows too."),
    Fault("RT0007", "A private key that cannot be used", "The file of option request_identity_private_key cannot be read or holds no Ed25519 key in PEM, or the library `cryptography` is not installed.", "Make one with `openssl genpkey -algorithm ed25519 -out FILE`; install the extra `cluster`."),
    Fault("RT0008", "An extra that is not installed", "What was asked for needs a library that the bare install leaves out.", "Install the extra that the message names."),
    Fault("RT0101", "A generated module of another generator", "The module was generated for another ABI than this runtime has.", "Generate it again with the installed protoc-gen-restate."),
    Fault("RT0102", "An App without services", "There is nothing to host.", "Pass instances of your implementations to App(...)."),
    Fault("RT0103", "An object that implements no service", "Only instances of classes that extend a generated ...Base can be bound.", "Extend the generated base and pass an instance, not the class."),
    Fault("RT0104", "A service that is bound twice", "Two objects implement the same service.", "Bind each service once."),
    Fault("RT0105", "A file that hides the shipped modules", "A regular package called `dev` or `dev.restate`, one with an __init__.py, or a module of that name comes before the `dev.restate` modules that this distribution ships.", "Remove the file that the message names, or give the package or module another name. A dev/__init__.py that has to stay extends its path: `__path__ = __import__(\"pkgutil\").extend_path(__path__, __name__)`."),
    Fault("RT0106", "A private service that the App does not have", "App(..., private=[...]) names a service that is not bound.", "Name it as its contract does, or by its class or instance, and bind it."),
    Fault("RT0107", "A service that a Restate cluster cannot host", "Restate keeps `openapi` and names that begin with `restate` to itself.", "Give the contract's package another name."),
    Fault("RT0201", "A data directory that is in use", "Another process owns it. One process owns a data directory.", "Stop the other process, or use another directory."),
    Fault("RT0202", "A data directory that cannot be used", "It is not a directory, cannot be created, read or written.", "Correct the path or its permissions."),
    Fault("RT0203", "Acknowledged data is missing", "The database holds less than was acknowledged: its write-ahead log was damaged or deleted, or an older copy was put in its place.", "Restore the whole directory from a backup. To go on with what is left, start with --accept-data-loss."),
    Fault("RT0204", "A damaged row", "A row does not have the checksum that it was written with.", "Restore the directory from a backup; `restate-runtime doctor` lists every damaged row."),
    Fault("RT0205", "A newer data directory", "It was written by a newer version of the runtime.", "Start the version that wrote it, or a later one."),
    Fault("RT0206", "A disk that fails", "The operating system reported an I/O error on a write or a sync. What was acknowledged is on disk; nothing after it was.", "Look after the disk, then start again: recovery goes on from what is on disk."),
    Fault("RT0207", "A runtime that lost its data directory", "Another process took the data directory over.", "Find out who removed the lock file; this process has stopped."),
    Fault("RT0208", "A disk that is full", "There is no room for the write. What waits is kept, new calls are refused with RESOURCE_EXHAUSTED.", "Make room; the runtime goes on by itself."),
    Fault("RT0209", "A batch that cannot be written", "A value that should have been refused when it came does not fit into its column: a mistake of the runtime. What was acknowledged is on disk; nothing after it was.", "Start again: recovery goes on from what is on disk. Please report it, with the message."),
    Fault("RT0301", "A handler that does not match its journal", "On replay the handler asked for something else than it did before: the code changed, or it depends on time, randomness or outside state. Nothing was performed after the difference.", "Restore the code and `restate-runtime invocations resume ID`, or `kill ID`."),
    Fault("RT0302", "An invocation whose attempts are spent", "Every attempt failed with an error that is not terminal.", "Mend what the error says and `restate-runtime invocations resume ID`, or `kill ID`."),
    Fault("RT0303", "An invocation that takes the process down", "It was executing at three unclean exits in a row.", "Look for a crash in its handler, then `restate-runtime invocations resume ID`, or `kill ID`."),
    Fault("RT0304", "An invocation without a handler", "Nothing hosts the method of this invocation. It is tried again, however often that takes, and goes on as soon as something does.", "Bind the service and start again, or register a deployment that has it; else `restate-runtime invocations cancel ID` or `kill ID`."),
    Fault("RT0305", "An invocation that its endpoint paused", "The SDK of the endpoint ended the attempt and asked the runtime to pause the invocation; the message is its own.", "Mend what the message says and `restate-runtime invocations resume ID`."),
    Fault("RT0401", "A runtime in a forked process", "A runtime was started before a fork and used after it.", "Start the runtime in the process that uses it."),
    Fault("RT0402", "A caller in the wrong place", "A runtime or connection was used as caller inside a handler, which would bypass the journal; or a runtime was used from another event loop or thread than the one that started it.", "Inside a handler use its context as caller, or move the call into ctx.run. From another event loop or thread, use connect()."),
    Fault("RT0501", "A runtime that cannot be reached", "Nothing answers at the URL, or what answers is no runtime.", "Start the runtime, or give its URL: --admin for the admin API, --ingress for calls. `restate-runtime serve` prints both. The files of a stopped runtime are read with --data-dir."),
    Fault("RT0502", "A request that was refused", "The runtime did not take the request; the message says why, after the status code.", "Correct what the message names."),
    Fault("RT0503", "An invocation that failed", "The handler ended with a terminal error, which is the result of the call.", "Look at the message; `restate-runtime invocations describe ID` shows what the invocation did."),
    Fault("RT0504", "An input that is no JSON", "The command takes JSON as its argument, or from standard input where the argument is `-`.", "Correct the JSON, and mind the quotes of your shell."),
    Fault("RT0601", "An endpoint that cannot be discovered", "Nothing answers at the URL, or what answers is no service endpoint, or it refuses the runtime's signature.", "Start the endpoint, or correct the URL; an endpoint with `identity_keys` needs the public key of this runtime."),
    Fault("RT0602", "An endpoint of another protocol version", "Endpoint and runtime have no version of the service protocol in common.", "Use an SDK that speaks one of the versions in the message."),
    Fault("RT0603", "An endpoint whose services cannot be taken", "What the endpoint says about its services breaks a rule: a name, a kind, or an option.", "Correct what the message names, at the endpoint."),
    Fault("RT0604", "A deployment that does not fit", "A service of the endpoint is of another kind than it was, or is bound by the App of this runtime.", "Give the service another name, or take it out of one of the two."),
)
