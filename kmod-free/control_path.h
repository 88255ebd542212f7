#ifndef PLOOP_CONTROL_PATH_H
#define PLOOP_CONTROL_PATH_H

/* Remove the control socket that a dead server of the bundle with @descriptor left. */
void control_path_forget(const char *descriptor);

#endif
