/* Modules of this machine's own kernel. */
#ifndef PLOOP_KMODULE_H
#define PLOOP_KMODULE_H

/* Let modprobe load @name; 0 too when it is there already. -ENOENT: there is no modprobe, or it has no such module;
 * its own words are in the sentence. Takes a few milliseconds: ask for what the module makes first. */
int kmodule_load(const char *name);

#endif
