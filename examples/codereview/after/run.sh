#!/bin/sh
# TODO quote
eval "$1"
