#!/bin/sh
if true
