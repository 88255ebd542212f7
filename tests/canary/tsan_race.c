/* expect: ThreadSanitizer: data race */
#include <pthread.h>

static int shared;

static void *racer(void *arg)
{
	for (int i = 0; i < 1000; i++)
		shared++;
	return arg;
}

/* No Criterion here: the memory it shares with its children lies where ThreadSanitizer keeps its own. */
int main(void)
{
	pthread_t one, other;

	pthread_create(&one, NULL, racer, NULL);
	pthread_create(&other, NULL, racer, NULL);
	pthread_join(one, NULL);
	pthread_join(other, NULL);
	return 0;
}
