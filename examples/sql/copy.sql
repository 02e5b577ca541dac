-- Many messages at once, such as the history of another system: psql -f copy.sql "$DATABASE_URL" < messages.csv
-- Lines: conversation_id,sender_id,content,is_read,created_at
\set ON_ERROR_STOP on
\copy messages (conversation_id, sender_id, content, is_read, created_at) from pstdin with (format csv)
