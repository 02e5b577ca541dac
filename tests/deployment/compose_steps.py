"""The steps of docker-compose.yml without a container engine: a PostgreSQL of this machine takes the place of its service, and
what the others run is run as it stands there, with the settings that stand there, in the order that they name.

    PG_BIN_DIR=... compose_steps.py PROGRAM

Holds the file to this: each step ends well, also the second time beside running replicas; the replicas become ready, serve the
demo data and store a message; and they are connected as the role that owns nothing.
"""

import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROGRAM = str(Path(sys.argv[1]).resolve())
BIN = Path(os.environ["PG_BIN_DIR"])
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
HOST = "127.0.0.1"
PATIENCE = 240


def free_port():
    """Below the range from which systems take the local ports of outgoing connections: none can sit down there until it is used."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listening:
            try:
                listening.bind((HOST, port))
            except OSError:
                continue
            return port


def eventually(what, ask):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"compose: {what}: not within {PATIENCE} s")


class PostgreSQL:
    """The service "postgres", as its image sets it up: one superuser with a password, one database."""

    def __init__(self, directory):
        self.port = free_port()
        environment = SERVICES["postgres"]["environment"]
        self.password = environment["POSTGRES_PASSWORD"]
        account = {}
        if os.getuid() == 0:
            # Its programs refuse to run as root.
            entry = next(e for e in map(named, ("postgres", "nobody")) if e)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
            account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        data = directory / "data"
        secret = directory / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        subprocess.run(
            [BIN / "initdb", f"--pgdata={data}", "--username=postgres", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "--encoding=UTF8", "--locale=C"],
            check=True, stdout=subprocess.DEVNULL, cwd=directory, **account,
        )
        program, *options = SERVICES["postgres"]["command"]
        # Of the options only those that this version knows by the same name; all of them are older than 14.
        self.process = subprocess.Popen(
            [BIN / program, "-D", data, "-p", str(self.port), "-k", directory, f"--listen_addresses={HOST}", *options],
            stdout=(directory / "log").open("w"), stderr=subprocess.STDOUT, cwd=directory, **account,
        )
        eventually("PostgreSQL answers", lambda: self.psql("postgres", "select 1", check=False).returncode == 0)
        self.psql("postgres", f"create database {environment['POSTGRES_DB']}")

    def psql(self, database, sql, check=True):
        command = [program("psql"), "--no-psqlrc", "--tuples-only", "--no-align", "--host", HOST, "--port", str(self.port)]
        environment = {**os.environ, "PGUSER": "postgres", "PGPASSWORD": self.password, "PGDATABASE": database}
        return subprocess.run([*command, "--command", sql], env=environment, check=check, capture_output=True, text=True)

    def stop(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


def named(account):
    try:
        return pwd.getpwnam(account)
    except KeyError:
        return None


def program(name):
    beside = BIN / name
    return str(beside) if beside.exists() else shutil.which(name) or sys.exit(f"{name} was not found")


def in_order():
    """The steps before the replicas, each behind what it depends on."""
    ordered = []

    def add(name):
        for other in SERVICES[name].get("depends_on", {}):
            add(other)
        if name not in ordered:
            ordered.append(name)

    add("pgchat")
    return [name for name in ordered if name not in ("postgres", "pgchat")]


def on_this_machine(service, port):
    """The service's environment, with the names of the composed network replaced."""
    environment = {key: str(value) for key, value in service["environment"].items()}
    for host, its_port in (("PGHOST", "PGPORT"), ("DB_HOST", "DB_PORT")):
        if host in environment:
            assert environment[host] == "postgres", environment
            environment |= {host: HOST, its_port: str(port)}
    return {**os.environ, **environment}


def run_step(name, port):
    service = SERVICES[name]
    command = [*service.get("entrypoint", [PROGRAM]), *service["command"]]
    for volume in service.get("volumes", []):
        source, target, *_ = volume.split(":")
        command = [part.replace(f"={target}/", f"={ROOT / source}/") for part in command]
    command[0] = command[0] if command[0] == PROGRAM else program(command[0])
    ran = subprocess.run(command, env=on_this_machine(service, port), capture_output=True, text=True, cwd=tempfile.gettempdir())
    if ran.returncode != 0:
        raise SystemExit(f"compose, {name}: ended with {ran.returncode}\n{ran.stdout}{ran.stderr}")


class Replica:
    def __init__(self, port, directory):
        self.url = f"http://{HOST}:{free_port()}"
        environment = on_this_machine(SERVICES["pgchat"], port)
        environment |= {"SERVER_HOST": HOST, "SERVER_PORT": self.url.rsplit(":", 1)[1], "SHUTDOWN_DELAY_SECONDS": "0"}
        self.log = directory / f"replica-{self.url.rsplit(':', 1)[1]}.log"
        self.process = subprocess.Popen([PROGRAM, "serve"], env=environment, stdout=self.log.open("w"), stderr=subprocess.STDOUT, cwd=directory)

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit(f"compose: a replica ended\n{self.log.read_text()}")
        try:
            return self.ask("/health/ready")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def drain(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=PATIENCE) != 0:
            raise SystemExit(f"compose: a replica's drain failed\n{self.log.read_text()}")


def main():
    directory = Path(tempfile.mkdtemp(prefix="pgchat-compose-"))
    database = None
    replicas = []
    try:
        database = PostgreSQL(directory)
        steps = in_order()
        for name in steps:
            run_step(name, database.port)
        replicas = [Replica(database.port, directory) for _ in range(2)]
        for replica in replicas:
            eventually("a replica is ready", replica.is_ready)
        first, second = replicas
        users = first.ask("/api/v1/users/")["users"]
        sender = users[0]["id"]
        listed = first.ask(f"/api/v1/chat/conversations/{sender}")["conversations"]
        assert len(users) > 1 and listed, (users, listed)
        conversation = listed[0]["id"]
        sent = first.ask("/api/v1/chat/messages", {"conversationId": conversation, "senderId": sender, "content": "from compose"})
        newest = second.ask(f"/api/v1/chat/conversations/{conversation}/messages?limit=1")["messages"][0]
        assert newest == sent, (newest, sent)

        name = SERVICES["postgres"]["environment"]["POSTGRES_DB"]
        roles = database.psql(name, "select distinct usename from pg_stat_activity where application_name like 'pgchat%'").stdout.split()
        assert roles == [SERVICES["pgchat"]["environment"]["DB_USER"]], roles
        owned = database.psql(name, f"select count(*) from pg_class where relowner = '{roles[0]}'::regrole").stdout.strip()
        powers = database.psql(name, f"select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = '{roles[0]}'").stdout.strip()
        assert (owned, powers) == ("0", "f"), (roles, owned, powers)

        # "docker compose up" once more.
        count = database.psql(name, "select count(*) from messages").stdout
        for step in steps:
            run_step(step, database.port)
        assert database.psql(name, "select count(*) from messages").stdout == count
        for replica in replicas:
            assert replica.is_ready()
            replica.drain()
        print(f"the steps of docker-compose.yml ({', '.join(steps)}) ran twice, and two replicas served as {roles[0]}")
    finally:
        for replica in replicas:
            if replica.process.poll() is None:
                replica.process.kill()
                replica.process.wait()
        if database:
            database.stop()
        shutil.rmtree(directory, ignore_errors=True)


main()
