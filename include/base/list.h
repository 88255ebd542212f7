/* An intrusive singly linked FIFO: O(1) append and take, no allocation. A node is on one queue at a time. */
#ifndef PLOOP_BASE_LIST_H
#define PLOOP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct qnode {
	struct qnode *next;
};
struct queue {
	struct qnode *first, **last; /* last: where the next append is linked; NULL while never used */
};

static inline bool queue_is_empty(const struct queue *q)
{
	return q->first == NULL;
}

static inline void queue_append(struct queue *q, struct qnode *n)
{
	if (!q->first)
		q->last = &q->first;
	n->next = NULL;
	*q->last = n;
	q->last = &n->next;
}

static inline struct qnode *queue_take(struct queue *q)
{
	struct qnode *n = q->first;
	if (n)
		q->first = n->next;
	return n;
}

/* Move everything from @from to the empty queue @to. */
static inline void queue_move(struct queue *to, struct queue *from)
{
	*to = *from;
	if (from->first == NULL)
		to->first = NULL;
	else if (from->last == &from->first)
		to->last = &to->first;
	from->first = NULL;
}

#endif
