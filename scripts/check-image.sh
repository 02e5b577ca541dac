#!/bin/sh
# Builds the image of the Dockerfile as it stands and runs it, on a Debian machine without a container engine or a registry of
# images: by buildah, on stand-ins for the two base images, made by debootstrap and out of the Rust toolchain that is
# installed. Takes some ten minutes; needs root, and the programs that it says.
#
#   scripts/check-image.sh [--built]      # --built: the image that an earlier run has built
#
# What it holds the image to: it is built from a clean copy of what git knows, holds one program and no shell, is not
# root's, and the program in it migrates as the owner of sql/roles.sql, serves, sends and is found ready by its own health
# check as the role that owns nothing, listens on loopback alone while it has no key, and drains.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh
work=$PWD/target/image

die() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || die 'this needs root'
if ! has buildah || ! has debootstrap; then
    scripts/apt-install.sh buildah debootstrap
fi
cargo_home=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)
PG_BIN_DIR=$(scripts/ensure-postgres.sh)

rust_image=$(sed -n 's/^FROM \(rust:[^ ]*\) AS rust$/\1/p' Dockerfile)
run_image=$(sed -n 's/^FROM \(gcr[^ ]*\)$/\1/p' Dockerfile)
if [ -z "$rust_image" ] || [ -z "$run_image" ]; then die 'the Dockerfile names other base images than this script knows'; fi
suite=bookworm

mkdir -p "$work"
exec 9<"$work"
flock -n 9 || die 'another run of this is at work'
b() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }

# --- stand-ins ---

base=$work/base
if [ ! -e "$base.done" ]; then
    say "debootstrap: $suite with a C compiler, for both stand-ins"
    rm -rf "$base"
    debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates,netbase,tzdata "$suite" "$base" \
        http://deb.debian.org/debian >&2
    rm -rf "$base/var/cache/apt" "$base/var/lib/apt/lists"
    touch "$base.done"
fi
have() { b images --quiet --filter "reference=$1" 2>/dev/null | grep -q .; }

if ! have "$rust_image"; then
    say "stand-in for $rust_image (the toolchain is mounted, not copied)"
    container=$(b from scratch)
    b add --quiet "$container" "$base" / >/dev/null
    b config --env PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --env CARGO_HOME=/usr/local/cargo "$container"
    b commit --quiet --rm "$container" "$rust_image" >/dev/null
fi
if ! have "$run_image"; then
    say "stand-in for $run_image: C libraries, certificates, an account, nothing to run"
    slim=$work/slim
    rm -rf "$slim" && mkdir -p "$slim/etc/ssl/certs" "$slim/tmp" && chmod 1777 "$slim/tmp"
    # What the packages of that image hold, without documentation. They were packed before /lib became a link to /usr/lib.
    mkdir -p "$slim/usr/lib" "$slim/usr/lib64" && ln -s usr/lib usr/lib64 "$slim/"
    for package in libc6 libgcc-s1 libstdc++6 libgomp1 libssl3 zlib1g tzdata netbase base-files; do
        chroot "$base" dpkg -L "$package" 2>/dev/null || true
    done | sed -e 's#^/lib#/usr/lib#' -e 's#^/##' | sort -u | while read -r path; do
        case $path in usr/share/doc/* | usr/share/lintian/* | */bin/* | */sbin/*) continue ;; esac
        [ ! -d "$base/$path" ] || [ -L "$base/$path" ] || continue
        [ ! -e "$base/$path" ] && [ ! -L "$base/$path" ] || printf '%s\n' "$path"
    done | tar -c -C "$base" --files-from=- | tar -x -C "$slim"
    cp "$base/etc/ssl/certs/ca-certificates.crt" "$slim/etc/ssl/certs/"
    printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$slim/etc/passwd"
    printf 'root:x:0:\nnonroot:x:65532:\n' >"$slim/etc/group"
    container=$(b from scratch)
    b add --quiet "$container" "$slim" / >/dev/null
    b config --user 65532 --workingdir / --env PATH=/usr/local/bin:/usr/bin:/bin \
        --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$container"
    b commit --quiet --rm "$container" "$run_image" >/dev/null
fi

# --- build ---

if [ "${1:-}" != --built ]; then
    context=$work/context
    rm -rf "$context" && mkdir "$context"
    # What is committed or about to be: neither what was built here nor what lies about.
    git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C "$context"
    mkdir -p "$cargo_home/registry"
    say 'building the image'
    started=$(date +%s)
    b bud --pull-never --isolation chroot --format docker --tag pgchat \
        --volume "$sysroot:/usr/local/rust:ro" --volume "$cargo_home/registry:/usr/local/cargo/registry" \
        "$context" >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log" >&2; die 'the build failed'; }
    say "built in $(($(date +%s) - started)) s"
fi

# --- the image ---

container=$(b from --pull-never pgchat)
scratch=$(mktemp -d)
chmod 755 "$scratch"
served=
finish() {
    code=$?
    trap - EXIT INT TERM
    [ -z "$served" ] || kill "$served" 2>/dev/null || true
    [ ! -e "$scratch/data/postmaster.pid" ] || kill -QUIT "$(head -n 1 "$scratch/data/postmaster.pid")" || true
    [ "$code" = 0 ] || { say 'the replica wrote:' && tail -n 30 "$scratch/log" >&2; } || true
    b umount "$container" >/dev/null 2>&1 || true
    b rm "$container" >/dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

root=$(b mount "$container")
shells=$(find "$root" -type f \( -name sh -o -name bash -o -name dash -o -name busybox \))
[ -z "$shells" ] || die "there is a shell: $shells"
# Scripts of /etc/update-motd.d, which came with a package, have nothing to run them.
programs=$(find "$root" -type f -perm /111 ! -path '*/lib/*' ! -path '*/lib64/*' ! -path '*/etc/*' -printf '/%P\n')
[ "$programs" = /usr/local/bin/pgchat ] || die "programs: $programs"
grep -q '^tokio v' "$root/usr/share/doc/pgchat/THIRD-PARTY-NOTICES" || die 'the notices of the crates are not there'
inspected=$(b inspect --type image --format '{{.Docker.Config.User}} {{.Docker.Config.Healthcheck.Test}} {{.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd}}' pgchat)
[ "$inspected" = '65532 [CMD /usr/local/bin/pgchat healthcheck --live] [/usr/local/bin/pgchat] [serve]' ] || die "the image's settings: $inspected"
say "size: $(du -sm "$root" | cut -f 1) MB, of which the program $(du -sm "$root/usr/local/bin/pgchat" | cut -f 1) MB"

# --- run ---

account=$(id -u postgres >/dev/null 2>&1 && echo postgres || echo nobody)
chown "$account" "$scratch"
as_account() { setpriv --reuid="$account" --regid="$(id -g "$account")" --clear-groups "$@"; }
port=$((20000 + $$ % 10000))
as_account "$PG_BIN_DIR/initdb" --pgdata="$scratch/data" --username=postgres --auth=trust --no-sync --encoding=UTF8 --locale=C >/dev/null
as_account "$PG_BIN_DIR/postgres" -D "$scratch/data" -p "$port" -k "$scratch" -c listen_addresses=127.0.0.1 >"$scratch/postgres.log" 2>&1 &
sql() { "$PG_BIN_DIR/psql" -h 127.0.0.1 -p "$port" -U postgres -d postgres -XqAt -v ON_ERROR_STOP=1 "$@"; }
tries=0
until sql -c 'select 1' >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || die 'PostgreSQL did not start'
    sleep 0.1
done

# The program of the image with these arguments, as the role $1.
inside() {
    role=$1
    shift
    b run --isolation chroot --env "DATABASE_URL=postgres://$role@127.0.0.1:$port/postgres?sslmode=disable" \
        --env "SERVER_PORT=$((port + 1))" "$container" -- /usr/local/bin/pgchat "$@"
}
# As docs/your-database.md has it; the superuser does what is the host's.
sql -f sql/demo/users_table.sql -f sql/roles.sql >"$scratch/log" 2>&1
inside pgchat_owner migrate >"$scratch/log" 2>&1
sql -f sql/roles.sql -c begin -f sql/demo/demo_data.sql -c commit >"$scratch/log" 2>&1
! inside pgchat_service healthcheck --live >/dev/null 2>&1 || die 'the health check is content with nothing'
inside pgchat_service serve >"$scratch/log" 2>&1 &
served=$!
tries=0
until inside pgchat_service healthcheck >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || die 'the health check is never content'
    kill -0 "$served" 2>/dev/null || die 'the replica ended'
    sleep 0.2
done
inside pgchat_service healthcheck --live >/dev/null 2>&1 || die "the image's own health check is not content"
grep -q "listening on http://127.0.0.1:$((port + 1))" "$scratch/log" || die 'without a key, it listens on more than loopback'
users=$(python3 -c 'import json, sys, urllib.request; print(len(json.load(urllib.request.urlopen(sys.argv[1]))["users"]))' \
    "http://127.0.0.1:$((port + 1))/api/v1/users/")
[ "$users" -gt 1 ] || die "$users users"
sent=$(python3 - "http://127.0.0.1:$((port + 1))/api/v1/chat" "$(sql -c 'select id, participant1_id from conversations limit 1')" <<'SEND'
import json, sys, urllib.request
base = sys.argv[1]
conversation, sender = sys.argv[2].split("|")
body = json.dumps({"conversationId": conversation, "senderId": sender, "content": "from the image"}).encode()
request = urllib.request.Request(base + "/messages", body, {"content-type": "application/json"})
print(urllib.request.urlopen(request).status)
SEND
)
[ "$sent" = 201 ] || die "a message was answered with $sent"
roles=$(sql -c "select string_agg(distinct usename, ' ') from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()")
[ "$roles" = pgchat_service ] || die "the replica is connected as $roles"
rights=$(sql -c "select rolsuper or rolcreaterole or rolcreatedb or exists (select from pg_class c where c.relowner = r.oid)
                   from pg_roles r where rolname = 'pgchat_service'")
[ "$rights" = f ] || die 'the role that serves is no mere one'
# The last of the processes that "buildah run" starts one in the other.
replica=$served
while child=$(ps -o pid= --ppid "$replica" | head -n 1 | tr -d ' ') && [ -n "$child" ]; do
    replica=$child
done
[ "$(cat "/proc/$replica/comm")" = pgchat ] || die 'the process of the replica is not found'
owner=$(stat -c %u "/proc/$replica")
[ "$owner" = 65532 ] || die "the replica runs as $owner"
kill -TERM "$replica"
wait "$served" || die "the drain ended with $?"
served=
grep -q 'stopped' "$scratch/log" || die 'there was no drain'
say "the image's program served $users users and took a message as pgchat_service, was found ready by its own health check, and drained"
