/* files: the descriptor tables of a job; called by cr. */
#ifndef XOS_FILES_H
#define XOS_FILES_H

#include "res/res.h"

int files_check(struct dump *d, struct err *e);  /* collects all descriptions, checks each */
int files_dump(struct dump *d, struct err *e);   /* fills d->files_out and every p->out */
void files_free(struct dump *d);

int files_parse(struct restore *r, struct err *e);     /* `files` and the fd records; sets r->fd_base */
int files_open_all(struct restore *r, struct err *e);  /* in the restorer, before any process */
int files_install(struct restore *r, struct rproc *p, struct err *e); /* p under remote control; all children of p exist */
int files_late(struct restore *r, struct err *e);
void files_restore_free(struct restore *r);

#endif
