#!/bin/sh
# Holds docker-compose.yml against the schema of the Compose specification, deploy/kubernetes against those of Kubernetes,
# deploy/systemd against systemd's own reading of it, deploy/prometheus against Prometheus's, the dashboard against Grafana's
# types, and all of them against each other and the program (tests/deployment/consistency.py). Installs what it needs below target/, from PyPI and Debian.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh
tools=$PWD/target/deployment
checks=$PWD/tests/deployment
# The oldest and the newest release that the manifests are made for.
KUBERNETES='1.29 1.37'

python_packages "$tools" "$checks/requirements.txt"
export PYTHONPATH="$tools/python" PYTHONDONTWRITEBYTECODE=1

python3 -m check_jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
# Grafana takes what it does not know, and shows nothing: its own types say what it knows.
python3 -m check_jsonschema --schemafile "$checks/grafana_dashboard.schema.json" deploy/grafana/dashboards/*.json
manifests=$(find deploy/kubernetes -name '*.yaml' ! -name kustomization.yaml | sort)
for version in $KUBERNETES; do
    # shellcheck disable=SC2086  # none of these names has a space
    python3 -m kubernetes_validate --strict --quiet --kubernetes-version "$version" $manifests
done
python3 "$checks/consistency.py"
say 'the files of compose, Kubernetes and systemd fit each other and the program'

# promtool is on the machine, or comes out of Debian's package, which is not installed: it would start a server.
find_promtool() { find "$tools/prometheus" -path '*/usr/bin/promtool' -type f 2>/dev/null | grep -m 1 .; }
fetch_promtool() {
    if find_promtool >/dev/null; then return; fi
    say "fetching promtool out of Debian's package prometheus into $tools"
    unpack_promtool || { scripts/apt-install.sh && unpack_promtool; }
}
unpack_promtool() {
    unpacked=$tools/prometheus.new
    rm -rf "$unpacked" "$tools/prometheus"
    mkdir -p "$unpacked"
    (cd "$unpacked" && apt-get download -q prometheus >&2 && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) &&
        mv "$unpacked" "$tools/prometheus"
}
promtool=$(command -v promtool || true)
if [ -z "$promtool" ] && has apt-get; then
    promtool=$(find_promtool) || { (take_turn "$tools" && fetch_promtool) && promtool=$(find_promtool); } || true
fi
if [ -n "$promtool" ]; then
    # Debian's Prometheus is built without Kubernetes: the job is checked but for how it finds the pods.
    sed -e 's/kubernetes_sd_configs:/static_configs:/' -e 's/- role: pod/- targets: [pod]/' deploy/prometheus/kubernetes.yml >"$tools/kubernetes.yml"
    "$promtool" check config deploy/prometheus/prometheus.yml "$tools/kubernetes.yml" >&2
    "$promtool" test rules "$checks/alerts_test.yml" >&2
else
    say 'promtool is not on this machine, and was not to be had: the alert rules are not tried'
fi

if has systemd-analyze; then
    # The program is not installed here; everything else is as it stands.
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    sed "s#/usr/local/bin/pgchat#/bin/true#g" 'deploy/systemd/pgchat@.service' >"$scratch/pgchat@.service"
    cp "$scratch/pgchat@.service" "$scratch/pgchat@8081.service"
    # It ends well in spite of settings that it does not know.
    if ! said=$(systemd-analyze verify "$scratch/pgchat@8081.service" 2>&1) || [ -n "$said" ]; then
        printf '%s\n' "$said" >&2
        exit 1
    fi
    # 0 is a closed box, 10 an open one.
    systemd-analyze security --offline=true --threshold=20 "$scratch/pgchat@8081.service" >"$scratch/security" ||
        { cat "$scratch/security" >&2; exit 1; }
    tail -n 1 "$scratch/security" >&2
else
    say 'systemd is not on this machine: its unit is not verified'
fi
