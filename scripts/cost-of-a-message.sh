#!/usr/bin/env bash
# CPU time of PostgreSQL for each message, by the size of the batch: docs/performance.md.
#
#   scripts/cost-of-a-message.sh [messages already stored]
set -euo pipefail
cd "$(dirname "$0")/.."
stored=${1:-0}
. scripts/private-cluster.sh
make_chat
sql <<'SQL'
create function batch(size integer, client_ids boolean) returns bigint language sql as $$
  select count(*) filter (where r.status = 'stored')
    from (select array_agg(chat_uuid_v7()) as ids, array_agg(k.ids[1 + (n * 7 + o) % cardinality(k.ids)]) as conversations,
                 array_agg(k.users[1 + (n * 7 + o) % cardinality(k.ids)]) as senders,
                 array_agg('message ' || n || repeat(' lorem ipsum', 7)) as contents, array_agg('text'::text) as types,
                 array_agg(case when client_ids then gen_random_uuid()::text end) as names
            from generate_series(1, size) n, (select (random() * 500)::integer as o) x,
                 (select array_agg(id) as ids, array_agg(participant1_id) as users from conversations) k) b,
         chat_send_messages(b.ids, b.conversations, b.senders, b.contents, b.types, b.names, true, 100, false) r
$$;
SQL
while [ "$stored" -gt 0 ]; do
  sql -c 'select batch(20000, false)'
  stored=$((stored - 20000))
done
sql -c 'analyze'

postmaster=$(head -1 "$dir/data/postmaster.pid")
# Of the backends that have ended, in microseconds: the postmaster has their time once it has taken note of their end. Who ends
# has no command line any more ([postgres]).
cpu() {
  while [ -n "$(ps -o state=,args= --ppid "$postmaster" | grep -E '^Z|\[postgres\]|postgres: postgres postgres')" ]; do sleep 0.05; done
  awk -v tick="$(getconf CLK_TCK)" '{ print ($16 + $17) * 1000000 / tick }' "/proc/$postmaster/stat"
}
for size in 1 10 100 500; do
  echo "select batch($size, true)" > "$dir/batch.sql"
  runs=$((size == 1 ? 10000 : 100000 / size))
  before=$(cpu)
  "$bin/pgbench" -n -M prepared -f "$dir/batch.sql" -t "$runs" > /dev/null
  after=$(cpu)
  awk -v b="$before" -v a="$after" -v n="$((runs * size))" -v size="$size" \
    'BEGIN { printf "batches of %3d: %6.1f µs of CPU for a message\n", size, (a - b) / n }'
done
