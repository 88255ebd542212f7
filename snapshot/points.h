/* Where an operation may die: a test sets the hook and ends the process there. Each name is a line of the tables in
 * README.md. */
#ifndef SNAPSHOT_POINTS_H
#define SNAPSHOT_POINTS_H

extern void (*snap_point_hook)(const char *name); /* NULL but in tests */

static inline void snap_point(const char *name)
{
	if (snap_point_hook)
		snap_point_hook(name);
}

#endif
