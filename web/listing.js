// The list of conversations as the service gives it: in parts, last active first.

/** How many are read at a time, and how many the service gives at most. */
const PAGE = 50;
const MOST = 200;

/** One part more. */
export const part = (chat, offset) => chat.conversations.list({ limit: PAGE, offset });

/** `{conversations, hasMore}` with `least` conversations, by their id, and as many more as it takes to have those that are `wanted`, too. */
export async function beginning(chat, least, wanted) {
  const conversations = new Map();
  let offset = 0;
  let hasMore = true;
  while (hasMore && (offset < Math.max(PAGE, least) || wanted.some((id) => !conversations.has(id)))) {
    const limit = Math.min(MOST, Math.max(PAGE, least - offset));
    const page = await chat.conversations.list({ limit, offset: offset || undefined });
    for (const conversation of page.conversations) conversations.set(conversation.id, conversation);
    offset += page.conversations.length;
    hasMore = page.hasMore;
  }
  return { conversations, hasMore };
}

const activeAt = ({ lastMessage, createdAt }) => lastMessage?.createdAt ?? createdAt;

export const lastActiveFirst = (conversations) => [...conversations].sort((a, b) => (activeAt(a) === activeAt(b) ? 0 : activeAt(a) < activeAt(b) ? 1 : -1));
