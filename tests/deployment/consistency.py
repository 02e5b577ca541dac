"""What no schema knows: that the files of deploy/ and docker-compose.yml fit each other and the program."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
faults = []


def expect(holds, fault):
    if not holds:
        faults.append(fault)


def text(path):
    return (ROOT / path).read_text()


def seconds(value):
    """`6`, "6", "40s"."""
    return int(str(value).removesuffix("s"))


settings = dict(re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", text("config.env"), re.M))
keepalive = seconds(re.search(r"keepalive_timeout (\d+s);", text("deploy/nginx/nginx.conf"))[1])


def check_settings(where, names):
    for name in names:
        expect(name in settings, f"{where}: {name} is no setting of pgchat")


def check_drain(where, environment, patience):
    """`patience` is how long the process may take to end after SIGTERM."""
    delay = seconds(environment.get("SHUTDOWN_DELAY_SECONDS", settings["SHUTDOWN_DELAY_SECONDS"]))
    grace = seconds(environment.get("SHUTDOWN_GRACE_SECONDS", settings["SHUTDOWN_GRACE_SECONDS"]))
    expect(delay > keepalive, f"{where}: SHUTDOWN_DELAY_SECONDS {delay} is not above nginx's keepalive_timeout {keepalive}")
    expect(grace >= delay + 15, f"{where}: a grace of {grace} s leaves little after a delay of {delay} s")
    expect(patience > grace, f"{where}: {patience} s cut a drain of {grace} s short")


def check_compose():
    compose = yaml.safe_load(text("docker-compose.yml"))
    services = compose["services"]
    replica = services["pgchat"]
    for name in ("pgchat", "migrate"):
        check_settings(f"compose, {name}", services[name]["environment"])
    roles = [services[name]["environment"]["DB_USER"] for name in ("migrate", "pgchat")]
    made = re.findall(r"^\\set (?:owner|service) (\w+)$", text("sql/roles.sql"), re.M)
    expect(roles == made, f"compose: migrates and serves as {roles}, and sql/roles.sql makes {made}")
    check_drain("compose", replica["environment"], seconds(replica["stop_grace_period"]))
    checked = replica.get("healthcheck", {}).get("test")
    expect(checked == ["CMD", "/usr/local/bin/pgchat", "healthcheck"], f"compose: nginx waits for {checked}, which does not say that a replica is ready")
    chosen = {name: replica["environment"].get(name) for name in ("AUTH_MODE", "SERVER_HOST")}
    expect(chosen == {"AUTH_MODE": "trusted", "SERVER_HOST": "0.0.0.0"}, f"compose: that every caller is believed, and from where, is not said in full: {chosen}")
    expect(replica["deploy"]["replicas"] == 3, "compose: three replicas")
    # Once there is a list, pgchat's own page must be in it.
    (published,) = (port.rsplit(":", 1)[0] for port in services["nginx"]["ports"])
    origins = replica["environment"]["ALLOWED_ORIGINS"].split(", ")
    expect(f"http://{published}" in origins, f"compose: http://{published} is not among the origins {origins}")
    # A step ends, and others wait for that; whatever else there is comes back, and what the others need first of all.
    steps = {"migrate"} | {name for name, service in services.items() if "psql" in service.get("entrypoint", [])}
    for name, service in services.items():
        wanted = None if name in steps else "unless-stopped"
        expect(service.get("restart") == wanted, f"compose, {name}: restart is {service.get('restart')}, and should be {wanted}")
    grafana = services["grafana"]["environment"]
    shut = {"GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer", "GF_AUTH_DISABLE_LOGIN_FORM": "true", "GF_AUTH_BASIC_ENABLED": "false"}
    expect(shut.items() <= grafana.items(), f"compose: somebody can change what Grafana shows: {grafana}")
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                expect((ROOT / source).exists(), f"compose, {name}: {source} is missing")
            else:
                expect(source in compose["volumes"], f"compose, {name}: no volume {source}")
        for port in service.get("ports", []):
            expect(port.startswith("127.0.0.1:"), f"compose, {name}: {port} is open to the network")
        for other in service.get("depends_on", []):
            expect(other in services, f"compose, {name}: depends on {other}")


def check_kubernetes():
    names = kustomization(".")["resources"]
    expect({"kustomization.yaml", *names} == {file.name for file in KUBERNETES.glob("*.yaml")}, "kubernetes: a file is not a resource of the kustomization")
    # The replicas and the Job have one image and one ConfigMap, whose name changes with its content.
    expect(kustomization(".")["components"] == ["settings"] and kustomization("migrate")["components"] == ["../settings"], "kubernetes: who migrates and who serves share no settings")
    expect(kustomization("migrate")["resources"] == ["job.yaml"], "kubernetes: the Job is not run")
    shared = kustomization("settings")
    (image,), (generated,) = shared["images"], shared["configMapGenerator"]
    expect("disableNameSuffixHash" not in str(shared), "kubernetes: changed settings start no new pods")
    objects = {}
    for name in names:
        found = yaml.safe_load((KUBERNETES / name).read_text())
        objects[found["kind"]] = found
    deployment = objects["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    labels = deployment["template"]["metadata"]["labels"].items()
    environment = dict(re.findall(r"^([A-Z_]+)=(.*)$", text("deploy/kubernetes/settings/settings.env"), re.M))
    expect(generated["envs"] == ["settings.env"], f"kubernetes: settings out of {generated}")
    check_settings("kubernetes", environment)
    # The Secret has the key. Without it, no pod becomes ready.
    expect(not {"AUTH_MODE", "SERVER_HOST"} & environment.keys(), "kubernetes: a replica without a key is reached")
    check_drain("kubernetes", environment, pod["terminationGracePeriodSeconds"])
    for kind, selector in (
        ("Deployment", deployment["selector"]["matchLabels"]),
        ("Service", objects["Service"]["spec"]["selector"]),
        ("PodDisruptionBudget", objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]),
        ("NetworkPolicy", objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]),
    ):
        expect(selector.items() <= labels, f"kubernetes: the {kind} selects other pods")
    autoscaler = objects["HorizontalPodAutoscaler"]["spec"]
    # In a rollout: the one that is started before another ends, and the one before it, which drains while the next starts.
    surge = deployment["strategy"]["rollingUpdate"]["maxSurge"]
    connections = (autoscaler["maxReplicas"] + 2 * surge) * (int(environment["DB_POOL_SIZE"]) + 5)
    expect(f"({connections} here" in text("deploy/kubernetes/README.md"), f"kubernetes: README.md has another number of connections than {connections}")
    expect(f"(maxReplicas + {2 * surge}) ×" in text("deploy/kubernetes/README.md"), "kubernetes: README.md counts other replicas in a rollout")
    expect(f"(maxReplicas + {2 * surge}) ×" in text("deploy/kubernetes/settings/settings.env"), "kubernetes: settings.env counts other replicas in a rollout")
    # Pods that do not serve anyway must not keep a node from being drained.
    expect(objects["PodDisruptionBudget"]["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow", "kubernetes: while the database is away no node can be drained")
    target = autoscaler["scaleTargetRef"]
    expect((target["kind"], target["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"]), "kubernetes: the autoscaler scales something else")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    expect(ports["http"] == int(settings["SERVER_PORT"]), "kubernetes: the port is not the default one")
    used = [port["targetPort"] for port in objects["Service"]["spec"]["ports"]]
    (allowed,) = objects["NetworkPolicy"]["spec"]["ingress"]
    used += [port["port"] for port in allowed["ports"]]
    used += [container[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    expect(all(port in ports for port in used), f"kubernetes: {used} are not all ports of the container")
    expect(container["livenessProbe"]["httpGet"]["path"] == "/health/live", "kubernetes: a restart mends no database")
    configured = {entry.get("configMapRef", entry.get("secretRef"))["name"] for entry in container["envFrom"]}
    expect(configured == {generated["name"]}, f"kubernetes: settings from {configured}")
    job = yaml.safe_load((KUBERNETES / "migrate/job.yaml").read_text())["spec"]["template"]
    (migrating,) = job["spec"]["containers"]
    expect(migrating["image"] == container["image"] == image["name"], "kubernetes: the Job has another image than the replicas")
    expect(migrating["args"] == ["migrate"] and container["args"] == ["serve"], "kubernetes: who migrates and who serves")
    expect(not labels <= job["metadata"]["labels"].items(), "kubernetes: the Job passes for a replica")
    secrets = {entry["secretRef"]["name"] for entry in migrating["envFrom"] if "secretRef" in entry}
    expect(secrets == {"pgchat-owner"} and migrating["envFrom"][0] == container["envFrom"][0], f"kubernetes: the Job's settings are from {migrating['envFrom']}")
    startup = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
    connecting = seconds(environment.get("DB_CONNECT_TIMEOUT_SECONDS", settings["DB_CONNECT_TIMEOUT_SECONDS"]))
    expect(startup - 60 <= connecting < startup, f"kubernetes: a start waits {connecting} s for the database, and may take {startup}")
    limited = "cpu" in container["resources"]["limits"]
    expect(limited or int(environment.get("WORKER_THREADS", 0)) > 0, "kubernetes: a replica has as many threads as its node has cores for")
    limit = mebibytes(container["resources"]["limits"]["memory"])
    most = sum(most_memory(settings | environment))
    expect(most <= limit * 0.9, f"kubernetes: a limit of {limit} MiB, and a replica may take {most}")
    expect(f": {most} MiB." in text("deploy/kubernetes/deployment.yaml"), f"kubernetes: deployment.yaml has another sum than {most} MiB")
    expect(f"({limit:,} MiB)" in text("deploy/kubernetes/README.md"), f"kubernetes: README.md has another memory limit than {limit} MiB")
    _, bounded, read = most_memory(settings)
    expect(f"up to {bounded} MiB, plus {read} MiB" in text("docs/operations.md"), f"operations.md has other sums than {bounded} MiB and {read} MiB")


def kustomization(directory):
    return yaml.safe_load((KUBERNETES / directory / "kustomization.yaml").read_text())


def mebibytes(quantity):
    """`512Mi`, `1Gi`."""
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


def most_memory(environment):
    """MiB of a replica all of whose bounds are reached (docs/limits.md, SECURITY.md): what the program and its sockets take, what is bounded by bytes, and
    what is being read."""
    mib = 1 << 20
    # A pair of a socket and a user whose presence it watches takes some 70 bytes (docs/operations.md).
    program, socket = 20 * mib, 7 * 1024 + 70 * int(environment["MAX_WATCHED_USERS"])
    replays = int(environment["REPLAY_BYTES"]) * int(environment["REPLAY_PARALLEL"])
    waiting = constant("src/writer.rs", "MAX_WAITING_BYTES")
    budgets = constant("src/services.rs", "INCOMING_BYTES") + 2 * waiting + constant("src/services.rs", "ANSWERS_BYTES") + replays
    budgets += int(environment["QUEUED_EVENTS_BYTES"]) + constant("src/replay.rs", "REMEMBERED")
    # For a moment the rows are in memory beside the answer that is made of them.
    read = 2 * (constant("src/store/pages.rs", "PAGE_BYTES") * int(environment["DB_POOL_SIZE"]) + replays)
    return [round(part / mib) for part in (program + socket * int(environment["MAX_CONNECTIONS"]), budgets, read)]


def constant(path, name):
    """A product, as `32 * MAX_BATCH_BYTES`, in a source."""
    product = 1
    for factor in re.search(rf"const {name}: \w+ = ([^;]+);", text(path))[1].split(" * "):
        product *= int(factor) if factor.isdigit() else constant(path, factor)
    return product


def check_systemd():
    unit = text("deploy/systemd/pgchat@.service")
    environment = dict(re.findall(r"^Environment=([A-Z_]+)=(.*)$", unit, re.M))
    check_settings("systemd", environment)
    check_drain("systemd", environment, seconds(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]))
    expect("RestartPreventExitStatus=2" in unit.split("\n"), "systemd: a wrong setting (exit code 2) is started again and again")
    waiting = re.search(r"^ExecStartPost=/bin/sh -c '(.*)'$", unit, re.M)[1]
    ended = subprocess.Popen(["true"])
    ended.wait()
    for program, main, code in (("true", os.getpid(), 0), ("false", ended.pid, 1)):
        command = waiting.replace("/usr/local/bin/pgchat", program)
        try:
            ran = subprocess.run(["sh", "-c", command], env={**os.environ, "MAINPID": str(main)}, stderr=subprocess.DEVNULL, timeout=60)
            expect(ran.returncode == code, f"systemd: with a health check that says {program}, the start ends with {ran.returncode}")
        except subprocess.TimeoutExpired:
            expect(False, "systemd: the start waits for a replica that has ended")
    limit = int(re.search(r"^LimitNOFILE=(\d+)$", unit, re.M)[1])
    expect(limit > int(settings["MAX_CONNECTIONS"]), "systemd: fewer files than sockets")


def check_prometheus():
    """However Prometheus finds the replicas, their job has the name that the rules and the dashboard ask for."""
    used = text("deploy/prometheus/alerts.yml") + text("deploy/grafana/dashboards/pgchat.json").replace('\\"', '"')
    asked = set(re.findall(r'job="(\w+)"', used))
    for path in ("deploy/prometheus/prometheus.yml", "deploy/prometheus/kubernetes.yml"):
        jobs = {job["job_name"] for job in yaml.safe_load(text(path))["scrape_configs"]}
        expect(jobs == asked, f"{path}: the jobs {jobs} are not the {asked} of the rules and the dashboard")
    template = yaml.safe_load(text("deploy/kubernetes/deployment.yaml"))["spec"]["template"]
    (port,) = template["spec"]["containers"][0]["ports"]
    (job,) = yaml.safe_load(text("deploy/prometheus/kubernetes.yml"))["scrape_configs"]
    kept = [rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"]
    replica = f'{template["metadata"]["labels"]["app.kubernetes.io/name"]};{port["name"]}'
    expect(kept == [replica], f"kubernetes.yml: keeps {kept}, and a replica is {replica}")
    dropped = [(*rule["source_labels"], rule["regex"]) for rule in job["relabel_configs"] if rule.get("action") == "drop"]
    ended = [("__meta_kubernetes_pod_phase", "Failed|Succeeded")]
    expect(dropped == ended, f"kubernetes.yml: drops {dropped}, and pods that have ended are {ended}")


def check_nginx():
    config = text("deploy/nginx/nginx.conf")
    # Each has its own copy of what holds for sockets.
    sockets, again = [body for body in re.findall(r"\n        location (.*?)\n        }\n", config, re.S) if "pgchat_sockets" in body]
    for name in ("proxy_read_timeout", "proxy_send_timeout", "proxy_connect_timeout", "proxy_buffering", "proxy_next_upstream"):
        first, second = (re.findall(rf"\b{name} (.+);", body) for body in (sockets, again))
        expect(len(first) == 1 and first == second, f"nginx: {name} of /ws is {first}, of @socket_again {second}")
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        timeout = seconds(re.search(rf"\b{name} (\d+s);", sockets)[1])
        expect(timeout > 2 * int(settings["HEARTBEAT_SECONDS"]), f"nginx: sockets are cut after {timeout} s")
    requests = seconds(re.search(r"proxy_read_timeout (\d+s);", config)[1])
    slowest = int(settings["WRITE_TIMEOUT_SECONDS"]) + int(settings["DB_TIMEOUT_SECONDS"])
    expect(requests > slowest, f"nginx: gives up after {requests} s, before pgchat does")
    # An answer with a ticket is some 100 bytes, and is not to be compressed beside what else a caller chooses.
    expect(int(re.search(r"gzip_min_length (\d+);", config)[1]) >= 500, "nginx: answers with a ticket may be compressed")
    body = int(re.search(r"client_max_body_size (\d+)m;", config)[1]) << 20
    expect(body > int(settings["MAX_BODY_BYTES"]), "nginx: answers 413 before pgchat does")


def check_image():
    """The build gets every directory that the sources include at compile time, and each member of the workspace; whoever runs
    the image without a key opens no chat to the network."""
    set_in_image = re.findall(r"^ENV ([A-Z_]+)", text("Dockerfile"), re.M)
    expect(not set_in_image, f"Dockerfile: the image has other defaults than the program: {set_in_image}")
    checked = re.search(r"^HEALTHCHECK .*\\\n  CMD (.*)$", text("Dockerfile"), re.M)[1]
    expect(checked == '["/usr/local/bin/pgchat", "healthcheck", "--live"]', f"Dockerfile: Swarm ends whom {checked} finds full, or without a database")
    kept = re.findall(r"^!(.+)$", text(".dockerignore"), re.M)
    for member in re.search(r"members = \[(.*)\]", text("Cargo.toml"))[1].replace('"', "").split(", "):
        expect(f"{member}/Cargo.toml" in kept, f".dockerignore: leaves out {member}/Cargo.toml")
    # Tests are not built into the image.
    sources = (source for source in (ROOT / "src").rglob("*.rs") if source.name != "tests.rs")
    for source in sources:
        for included in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
            path = (source.parent / included).resolve().relative_to(ROOT)
            expect(any(path == Path(name) or Path(name) in path.parents for name in kept), f".dockerignore: leaves out {path}")


def check_versions():
    """A release has one version (CONTRIBUTING.md, "Releasing")."""
    version = re.search(r'^version = "(.+)"$', text("Cargo.toml"), re.M)[1]
    client = json.loads(text("clients/js/package.json"))["version"]
    (image,) = kustomization("settings")["images"]
    expect({version} == {client, image["newTag"]}, f"the program is {version}, the client {client}, the image of Kubernetes {image['newTag']}")


for check in (check_compose, check_kubernetes, check_systemd, check_prometheus, check_nginx, check_image, check_versions):
    check()
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(1 if faults else 0)
